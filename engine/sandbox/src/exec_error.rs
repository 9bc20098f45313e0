//! Why a program could not be executed, found out after the kernel said no.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::capability::Capability;
use crate::error::{StartError, StartErrorKind, reason};

/// Explains the failed execution of `path`, which was asked for as `name`, under the bounding set
/// `allowed` (as bits).
pub(crate) fn explain(name: &str, path: &CStr, error: &io::Error, allowed: u64) -> StartError {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let shown = path.to_string_lossy();
    match errno {
        Some(Errno::NOENT | Errno::NOTDIR) => match missing_interpreter(path) {
            Some(interpreter) => not_executable(format!(
                "cannot execute {shown}: its interpreter {interpreter} is not in the container"
            ))
            .hint(if interpreter.contains("/ld-") {
                "the program was linked for another distribution: use an image that has this loader, or link it statically"
            } else {
                "use an image that has the interpreter, or name another one in the file's first line"
            }),
            None => not_found(name),
        },
        Some(Errno::ACCESS) if is_directory(path) => {
            not_executable(format!("cannot execute {shown}: it is a directory"))
                .hint("name a program in it")
        }
        Some(Errno::ACCESS) => not_executable(format!("cannot execute {shown}: permission denied"))
            .hint("the file, its interpreter or a directory above it may lack execute permission for this user"),
        Some(Errno::NOEXEC) => {
            let (why, hint) = wrong_format(path);
            not_executable(format!("cannot execute {shown}: {why}")).hint(hint)
        }
        Some(Errno::PERM) => missing_capability(path, &shown, allowed).unwrap_or_else(|| {
            not_executable(format!("cannot execute {shown}: operation not permitted"))
        }),
        _ => not_executable(format!("cannot execute {shown}: {}", reason(error))),
    }
}

/// There is no such command.
pub(crate) fn not_found(name: &str) -> StartError {
    let message = if name.contains('/') {
        format!("no such file in the container: {name}")
    } else {
        format!("no command {name:?} in the container's PATH")
    };
    StartError::new(StartErrorKind::NotFound, message)
        .hint("what follows the image is a program in it and its arguments; options of hull go before the image")
}

fn not_executable(message: String) -> StartError {
    StartError::new(StartErrorKind::NotExecutable, message)
}

fn is_directory(path: &CStr) -> bool {
    rustix::fs::stat(path)
        .is_ok_and(|status| rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir())
}

/// Opens a file of the container to look at; never waits for it.
fn open(path: &CStr) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Some(File::from(openat(CWD, path, flags, Mode::empty()).ok()?))
}

fn head(file: &mut File) -> Vec<u8> {
    let mut head = Vec::new();
    let _ = file.take(4096).read_to_end(&mut head);
    head
}

/// The interpreter that a file which is there asks for.
fn missing_interpreter(path: &CStr) -> Option<String> {
    let mut file = open(path)?;
    let head = head(&mut file);
    if let Some(script) = head.strip_prefix(b"#!") {
        let line = script.split(|byte| *byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        return line.split_ascii_whitespace().next().map(str::to_owned);
    }
    elf_interpreter(&file, &head)
}

/// PT_INTERP of a 64- or 32-bit little-endian ELF file (elf(5)).
fn elf_interpreter(file: &File, head: &[u8]) -> Option<String> {
    let wide = *elf_class(head)? == 2;
    let (table, entry_size, entries) = if wide {
        (number(head, 32, 8)?, number(head, 54, 2)?, number(head, 56, 2)?)
    } else {
        (number(head, 28, 4)?, number(head, 42, 2)?, number(head, 44, 2)?)
    };
    for index in 0..entries.min(128) {
        let mut entry = [0; 56];
        let size = usize::try_from(entry_size).ok()?.min(entry.len());
        let offset = table.checked_add(index * entry_size)?;
        file.read_exact_at(entry.get_mut(..size)?, offset).ok()?;
        if number(&entry, 0, 4)? == 3 {
            let (offset, length) = if wide {
                (number(&entry, 8, 8)?, number(&entry, 32, 8)?)
            } else {
                (number(&entry, 4, 4)?, number(&entry, 16, 4)?)
            };
            let mut text = vec![0; usize::try_from(length.min(4096)).ok()?];
            file.read_exact_at(&mut text, offset).ok()?;
            let text = CStr::from_bytes_until_nul(&text).ok()?;
            return Some(text.to_string_lossy().into_owned());
        }
    }
    None
}

fn elf_class(head: &[u8]) -> Option<&u8> {
    head.strip_prefix(b"\x7fELF")?.first()
}

fn number(bytes: &[u8], offset: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + width)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Why the kernel does not know what the file is, and what to do.
fn wrong_format(path: &CStr) -> (String, &'static str) {
    let head = open(path).map(|mut file| head(&mut file)).unwrap_or_default();
    match (elf_class(&head), number(&head, 18, 2)) {
        _ if head.is_empty() => ("the file is empty".to_owned(), "the image may be damaged"),
        (Some(_), Some(machine)) => (
            format!(
                "it is a program for {}, this host is {}",
                machine_name(machine),
                std::env::consts::ARCH
            ),
            "use an image for this host, or register an emulator for the other kind (binfmt_misc)",
        ),
        _ => (
            "it is neither an ELF program nor a script that begins with #!".to_owned(),
            "a script begins with a line such as #!/bin/sh, or is run as `sh FILE`",
        ),
    }
}

/// `e_machine` of elf(5).
fn machine_name(machine: u64) -> String {
    let name = match machine {
        3 => "i386",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        258 => "loongarch",
        other => return format!("machine {other}"),
    };
    name.to_owned()
}

/// The kernel refuses a file whose capabilities it could not give in full.
fn missing_capability(path: &CStr, shown: &str, allowed: u64) -> Option<StartError> {
    let mut value = [0u8; 24];
    let length = rustix::fs::getxattr(path, c"security.capability", &mut value[..]).ok()?;
    let missing = file_capabilities(value.get(..length)?)? & !allowed;
    let names: Vec<&str> = Capability::ALL
        .iter()
        .filter(|capability| missing & capability.bit() != 0)
        .map(|capability| capability.name())
        .collect();
    if names.is_empty() {
        return None;
    }
    let flags: Vec<String> =
        names.iter().map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_"))).collect();
    Some(
        not_executable(format!(
            "cannot execute {shown}: the file asks for {}, which the container does not have",
            names.join(", ")
        ))
        .hint(format!("use {}", flags.join(" "))),
    )
}

/// The permitted set of a `security.capability` attribute, version 2 or 3
/// (`struct vfs_ns_cap_data`).
fn file_capabilities(attribute: &[u8]) -> Option<u64> {
    Some(number(attribute, 4, 4)? | number(attribute, 12, 4)? << 32)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(content: &[u8], errno: Errno, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = path.to_str().unwrap();
        let error = explain(path, &CString::new(path).unwrap(), &errno.into(), 0);
        assert_eq!(error.kind, StartErrorKind::NotExecutable);
        assert_eq!(error.message, format!("cannot execute {path}: {expected}"));
    }

    fn elf(machine: u16, interpreter: &str) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..5].copy_from_slice(b"\x7fELF\x02");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = 3;
        file[64 + 8] = 120;
        file[64 + 32] = u8::try_from(interpreter.len() + 1).unwrap();
        file.extend(interpreter.as_bytes());
        file.push(0);
        file
    }

    #[test]
    fn reasons() {
        check(
            b"#! /bin/nosuch -x\n",
            Errno::NOENT,
            "its interpreter /bin/nosuch is not in the container",
        );
        let program = elf(62, "/lib64/ld-linux-x86-64.so.2");
        check(
            &program,
            Errno::NOENT,
            "its interpreter /lib64/ld-linux-x86-64.so.2 is not in the container",
        );
        let arch = std::env::consts::ARCH;
        check(
            &elf(183, ""),
            Errno::NOEXEC,
            &format!("it is a program for aarch64, this host is {arch}"),
        );
        check(b"", Errno::NOEXEC, "the file is empty");
        check(
            b"echo",
            Errno::NOEXEC,
            "it is neither an ELF program nor a script that begins with #!",
        );
        check(b"x", Errno::ACCESS, "permission denied");
    }

    #[test]
    fn cut_short_programs_are_no_trouble() {
        let whole = elf(62, "/lib/ld.so");
        for length in 0..whole.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("program");
            std::fs::write(&path, &whole[..length]).unwrap();
            let path = CString::new(path.to_str().unwrap()).unwrap();
            explain("program", &path, &Errno::NOENT.into(), 0);
            explain("program", &path, &Errno::NOEXEC.into(), 0);
        }
    }

    #[test]
    fn capabilities_of_files() {
        // What `setcap cap_net_raw+ep` writes.
        let attribute = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(file_capabilities(&attribute), Some(1 << 13));
        assert_eq!(file_capabilities(&attribute[..3]), None);
    }
}
