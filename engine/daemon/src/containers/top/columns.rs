//! The columns that a listing can have, by the names ps(1) has for them.

use super::process::{Host, Process, TICKS};
use crate::error::ApiError;
use jiff::Timestamp;

/// A column of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) title: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pid,
    Parent,
    Group,
    Session,
    Terminal,
    State,
    FullState,
    Time,
    BsdTime,
    Elapsed,
    ElapsedSeconds,
    Cpu,
    CpuWhole,
    Memory,
    Size,
    Pages,
    Resident,
    Command,
    Arguments,
    User,
    UserId,
    GroupName,
    GroupId,
    Nice,
    Priority,
    Start,
    Threads,
    Processor,
    Flags,
    Nothing,
}

/// Name, title, kind.
const KNOWN: &[(&str, &str, Kind)] = &[
    ("pid", "PID", Kind::Pid),
    ("tgid", "TGID", Kind::Pid),
    ("ppid", "PPID", Kind::Parent),
    ("pgid", "PGID", Kind::Group),
    ("pgrp", "PGRP", Kind::Group),
    ("sid", "SID", Kind::Session),
    ("sess", "SESS", Kind::Session),
    ("tty", "TTY", Kind::Terminal),
    ("tt", "TT", Kind::Terminal),
    ("tname", "TTY", Kind::Terminal),
    ("s", "S", Kind::State),
    ("state", "S", Kind::State),
    ("stat", "STAT", Kind::FullState),
    ("time", "TIME", Kind::Time),
    ("cputime", "TIME", Kind::Time),
    ("bsdtime", "TIME", Kind::BsdTime),
    ("etime", "ELAPSED", Kind::Elapsed),
    ("etimes", "ELAPSED", Kind::ElapsedSeconds),
    ("%cpu", "%CPU", Kind::Cpu),
    ("pcpu", "%CPU", Kind::Cpu),
    ("c", "C", Kind::CpuWhole),
    ("%mem", "%MEM", Kind::Memory),
    ("pmem", "%MEM", Kind::Memory),
    ("vsz", "VSZ", Kind::Size),
    ("vsize", "VSZ", Kind::Size),
    ("sz", "SZ", Kind::Pages),
    ("rss", "RSS", Kind::Resident),
    ("rsz", "RSZ", Kind::Resident),
    ("rssize", "RSS", Kind::Resident),
    ("comm", "COMMAND", Kind::Command),
    ("ucmd", "CMD", Kind::Command),
    ("ucomm", "COMMAND", Kind::Command),
    ("comm_title", "CMD", Kind::Command),
    ("args", "COMMAND", Kind::Arguments),
    ("cmd", "CMD", Kind::Arguments),
    ("command", "COMMAND", Kind::Arguments),
    ("user", "USER", Kind::User),
    ("euser", "EUSER", Kind::User),
    ("uname", "USER", Kind::User),
    ("uid_hack", "UID", Kind::User),
    ("uid", "UID", Kind::UserId),
    ("euid", "EUID", Kind::UserId),
    ("group", "GROUP", Kind::GroupName),
    ("egroup", "EGROUP", Kind::GroupName),
    ("gid", "GID", Kind::GroupId),
    ("egid", "EGID", Kind::GroupId),
    ("ni", "NI", Kind::Nice),
    ("nice", "NI", Kind::Nice),
    ("pri", "PRI", Kind::Priority),
    ("start", "START", Kind::Start),
    ("start_time", "START", Kind::Start),
    ("bsdstart", "START", Kind::Start),
    ("stime", "STIME", Kind::Start),
    ("nlwp", "NLWP", Kind::Threads),
    ("thcount", "THCNT", Kind::Threads),
    ("psr", "PSR", Kind::Processor),
    ("f", "F", Kind::Flags),
    ("flag", "F", Kind::Flags),
    ("flags", "F", Kind::Flags),
    ("addr", "ADDR", Kind::Nothing),
    ("wchan", "WCHAN", Kind::Nothing),
];

impl Column {
    /// Reads `pid,user=WHO`: after `=` comes the title, to the end of the list.
    pub(super) fn list(text: &str) -> Result<Vec<Self>, ApiError> {
        let one = |word: &str| {
            let (name, title) = match word.split_once('=') {
                Some((name, title)) => (name, Some(title)),
                None => (word, None),
            };
            let known = KNOWN.iter().find(|(known, ..)| *known == name);
            let (_, default, kind) =
                known.ok_or_else(|| ApiError::invalid(format!("ps: unknown column {name:?}")))?;
            Ok(Self { title: title.unwrap_or(default).to_owned(), kind: *kind })
        };
        text.split(',').map(one).collect()
    }

    pub(super) fn is_pid(&self) -> bool {
        self.kind == Kind::Pid
    }

    /// What stands in this column for a process.
    pub(super) fn value(&self, process: &Process, host: &Host) -> String {
        let seconds = process.cpu_ticks / TICKS;
        match self.kind {
            Kind::Pid => process.pid.to_string(),
            Kind::Parent => process.parent.to_string(),
            Kind::Group => process.group.to_string(),
            Kind::Session => process.session.to_string(),
            Kind::Terminal => terminal(process.terminal),
            Kind::State => process.state.to_string(),
            Kind::FullState => full_state(process),
            Kind::Time => format!("{}{}", days(seconds), clock(seconds % 86_400)),
            Kind::BsdTime => format!("{}:{:02}", seconds / 60, seconds % 60),
            Kind::Elapsed => elapsed(running(process, host)),
            Kind::ElapsedSeconds => running(process, host).to_string(),
            Kind::Cpu => {
                let tenths = tenths(process.cpu_ticks * 10, running(process, host) * TICKS / 100);
                format!("{}.{}", tenths / 10, tenths % 10)
            }
            Kind::CpuWhole => {
                let ran = running(process, host).max(1);
                (process.cpu_ticks * 100 / TICKS / ran).min(99).to_string()
            }
            Kind::Memory => {
                let tenths = (process.resident_kib * 1000 / host.memory_kib.max(1)).min(999);
                format!("{}.{}", tenths / 10, tenths % 10)
            }
            Kind::Size => process.size_kib.to_string(),
            Kind::Pages => (process.size_kib / host.page_kib.max(1)).to_string(),
            Kind::Resident => process.resident_kib.to_string(),
            Kind::Command => process.command.clone(),
            Kind::Arguments => process.arguments.clone(),
            Kind::User => host.user(process.uid),
            Kind::UserId => process.uid.to_string(),
            Kind::GroupName => host.group(process.gid),
            Kind::GroupId => process.gid.to_string(),
            Kind::Nice => process.nice.to_string(),
            Kind::Priority => (39 - process.priority).to_string(),
            Kind::Start => start(process, host),
            Kind::Threads => process.threads.to_string(),
            Kind::Processor => process.processor.to_string(),
            // What it did: forked and did not execute, used the privileges of root.
            Kind::Flags => format!("{:o}", (process.flags >> 6) & 7),
            Kind::Nothing => "-".to_owned(),
        }
    }
}

/// The quotient in tenths, without a division by zero.
fn tenths(part: u64, whole: u64) -> u64 {
    (part / whole.max(1)).min(9999)
}

/// Seconds since the process began.
fn running(process: &Process, host: &Host) -> u64 {
    let began = host.booted + i64::try_from(process.start_ticks / TICKS).unwrap_or_default();
    u64::try_from(host.now.as_second() - began).unwrap_or_default()
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn days(seconds: u64) -> String {
    if seconds < 86_400 { String::new() } else { format!("{}-", seconds / 86_400) }
}

/// `[[days-]hours:]minutes:seconds`.
fn elapsed(seconds: u64) -> String {
    match seconds {
        ..3600 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}{}", days(seconds), clock(seconds % 86_400)),
    }
}

/// The time of today, the day of this year, or the year.
fn start(process: &Process, host: &Host) -> String {
    let began = host.booted + i64::try_from(process.start_ticks / TICKS).unwrap_or_default();
    let zone = jiff::tz::TimeZone::system();
    let began = Timestamp::from_second(began).unwrap_or(host.now).to_zoned_datetime(zone.clone());
    let now = host.now.to_zoned_datetime(zone);
    let format = if began.date() == now.date() {
        "%H:%M"
    } else if began.year() == now.year() {
        "%b%d"
    } else {
        "%Y"
    };
    began.strftime(format).to_string()
}

/// As makedev(3) packs it: `pts/0`, `tty1`, `?` for none.
fn terminal(device: u64) -> String {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        _ => "?".to_owned(),
    }
}

fn full_state(process: &Process) -> String {
    let mut state = process.state.to_string();
    match process.nice {
        ..0 => state.push('<'),
        0 => {}
        1.. => state.push('N'),
    }
    if process.locked {
        state.push('L');
    }
    if process.session == process.pid {
        state.push('s');
    }
    if process.threads > 1 {
        state.push('l');
    }
    if process.foreground == process.group {
        state.push('+');
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_terminals() {
        assert_eq!([59, 3600, 90_061].map(elapsed), ["00:59", "01:00:00", "1-01:01:01"]);
        let names = [0, (136 << 8) | 3, (4 << 8) | 1, (4 << 8) | 64, (5 << 8) | 1];
        assert_eq!(names.map(terminal), ["?", "pts/3", "tty1", "ttyS0", "console"]);
    }
}
