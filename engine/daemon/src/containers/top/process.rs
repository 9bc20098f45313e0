//! What `/proc` tells of one process, and of the host it runs on.

use crate::error::ApiError;
use jiff::Timestamp;
use std::collections::HashMap;

/// The kernel counts time for `/proc` in hundredths of a second on every architecture we have.
pub(super) const TICKS: u64 = 100;

/// What is the same for all processes.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) now: Timestamp,
    /// Seconds since 1970 at which the host started.
    pub(super) booted: i64,
    pub(super) memory_kib: u64,
    pub(super) page_kib: u64,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

/// One process.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) command: String,
    pub(super) arguments: String,
    pub(super) state: char,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) terminal: u64,
    pub(super) foreground: i32,
    pub(super) flags: u64,
    /// In ticks, user mode and kernel.
    pub(super) cpu_ticks: u64,
    pub(super) priority: i64,
    pub(super) nice: i64,
    pub(super) threads: u64,
    /// Ticks after the host's start.
    pub(super) start_ticks: u64,
    pub(super) size_kib: u64,
    pub(super) resident_kib: u64,
    pub(super) processor: u64,
    /// As the container numbers them.
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) locked: bool,
}

impl Host {
    pub(super) fn read() -> Result<Self, ApiError> {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .map_err(|error| ApiError::internal(&error).context(&format!("cannot read {path}")))
        };
        let stat = read("/proc/stat")?;
        let memory = read("/proc/meminfo")?;
        let after = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let names = |path: &str| names(&std::fs::read_to_string(path).unwrap_or_default());
        let booted = after(&stat, "btime ").unwrap_or_default();
        Ok(Self {
            now: Timestamp::now(),
            booted: i64::try_from(booted).unwrap_or_default(),
            memory_kib: after(&memory, "MemTotal:").unwrap_or(1),
            page_kib: rustix::param::page_size() as u64 >> 10,
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
        })
    }

    pub(super) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    pub(super) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

/// Ids and names of passwd(5) and group(5).
fn names(text: &str) -> HashMap<u32, String> {
    let pair = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first name of an id is the one that counts.
    text.lines().rev().filter_map(pair).collect()
}

impl Process {
    /// `None` if it has ended.
    pub(super) fn read(pid: i32, host: &Host) -> Option<Self> {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}"));
        let text = |file: &str| read(file).map(|text| String::from_utf8_lossy(&text).into_owned());
        let mut process = Self::parse(pid, &text("stat").ok()?)?;
        process.resident_kib *= host.page_kib;
        let status = text("status").unwrap_or_default();
        let id = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            // Real, effective, saved, file system.
            line.split_ascii_whitespace().nth(1)?.parse().ok()
        };
        let maps = |file: &str| text(file).unwrap_or_default();
        process.uid = inside(id("Uid:").unwrap_or_default(), &maps("uid_map"));
        process.gid = inside(id("Gid:").unwrap_or_default(), &maps("gid_map"));
        process.locked = status
            .lines()
            .find_map(|line| line.strip_prefix("VmLck:"))
            .is_some_and(|line| !line.trim_start().starts_with("0 "));
        let words = read("cmdline").unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        process.arguments = printable(words.trim_end_matches('\0')).replace('\0', " ");
        if process.arguments.is_empty() {
            process.arguments = format!("[{}]", process.command);
        }
        Some(process)
    }

    /// Reads `/proc/PID/stat` (proc_pid_stat(5)).
    fn parse(pid: i32, stat: &str) -> Option<Self> {
        let (start, end) = (stat.find('(')?, stat.rfind(')')?);
        let command = printable(stat.get(start + 1..end)?);
        let fields: Vec<&str> = stat.get(end + 1..)?.split_ascii_whitespace().collect();
        // The third field of the man page is our first.
        let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
        let positive = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let id = |field: usize| i32::try_from(number(field)?).ok();
        Some(Self {
            pid,
            command,
            state: fields.first()?.chars().next()?,
            parent: id(4)?,
            group: id(5)?,
            session: id(6)?,
            terminal: positive(7).unwrap_or_default(),
            foreground: id(8)?,
            flags: positive(9)?,
            cpu_ticks: positive(14)? + positive(15)?,
            priority: number(18)?,
            nice: number(19)?,
            threads: positive(20)?,
            start_ticks: positive(22)?,
            size_kib: positive(23)? >> 10,
            resident_kib: positive(24)?,
            processor: positive(39).unwrap_or_default(),
            ..Self::default()
        })
    }
}

/// A process can call itself what it likes: nothing of that may reach a terminal's control.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\0' { '?' } else { c }).collect()
}

/// The container's number for an id of the host; the host's where it has none.
fn inside(id: u32, map: &str) -> u32 {
    let translated = map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inner, outer, count) =
            (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let offset = id.checked_sub(outer).filter(|&offset| offset < count)?;
        inner.checked_add(offset)
    });
    translated.unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "42 (a) b (\x1b[2J)) S 1 42 40 34816 42 4194304 100 0 0 0 150 50 0 0 20 0 3 0 \
                    123456 4096000 250 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0";
        let process = Process::parse(42, stat).unwrap();
        assert_eq!(process.command, "a) b (?[2J)");
        assert_eq!((process.state, process.parent, process.cpu_ticks), ('S', 1, 200));
        assert_eq!((process.threads, process.start_ticks, process.size_kib), (3, 123_456, 4000));
        assert_eq!((process.resident_kib, process.processor), (250, 1));
        assert!(Process::parse(1, "1 (x) S 2").is_none());
    }

    #[test]
    fn ids_are_the_containers() {
        let map = "         0 1879048192      65536\n     70000       5000          1\n";
        assert_eq!([1_879_048_225, 5000, 7].map(|id| inside(id, map)), [33, 70000, 7]);
        assert_eq!(inside(33, "0 0 4294967295"), 33);
    }
}
