//! Our default, and Docker's own text through our compiler, against Docker's profile.
//!
//! The profile is another project's data and not part of this one: the comparison reads it from
//! `HULL_REFERENCE_DIR`, or `../shared/reference` beside the workspace, and says so when it is
//! not there.

use std::path::PathBuf;

use super::interpreter::run;
use super::naive::Naive;
use super::{ALLOW, call, errno, interesting};
use crate::capability::{Capability, DEFAULT, DOCKER_DEFAULT};
use crate::seccomp::default::{PROFILE, program_for};
use crate::seccomp::profile::{KernelVersion, compile_for};
use crate::seccomp::rule::{ENOSYS, EPERM};
use crate::seccomp::{Arch, Profile, Program};

const KERNEL: KernelVersion = KernelVersion(6, 18);
const AF_ALG: u64 = 38;

fn reference() -> Option<String> {
    let folder = std::env::var_os("HULL_REFERENCE_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference"),
        PathBuf::from,
    );
    let path = folder.join("docker-seccomp-default.json");
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: no {}: set HULL_REFERENCE_DIR", path.display());
    }
    text
}

fn capability_sets() -> Vec<Vec<Capability>> {
    let mut sets = vec![DEFAULT.to_vec(), DOCKER_DEFAULT.to_vec(), vec![]];
    sets.push(Capability::ALL.to_vec());
    for capability in Capability::ALL {
        let mut set = DEFAULT.to_vec();
        set.push(*capability);
        sets.push(set);
    }
    sets
}

/// Every number, with every sampled value in every argument: `expected` may differ from the
/// profile's own reading.
fn compare(
    program: &Program,
    arch: Arch,
    naive: &Naive,
    expected: impl Fn(u32, [u64; 6], u32) -> u32,
) {
    for number in 0..=1024 {
        let compared = naive.values(number);
        let indexes = if compared.is_empty() { 0..1 } else { 0..6 };
        for value in interesting(&compared) {
            for index in indexes.clone() {
                let mut args = [0x1234_5678_9abc_def0; 6];
                args[index] = value;
                let (verdict, _) = run(program, &call(arch.audit(), number, args));
                let wanted = expected(number, args, naive.verdict(number, args));
                assert_eq!(verdict, wanted, "{arch:?} call {number} args {args:x?}");
            }
        }
    }
    for (foreign, numbers) in [
        (0x4000_0003, 0..512),
        (0x4000_0028, 0..512),
        (0xc000_00f3, 0..512),
        (0, 0..1),
        (arch.audit(), 0x4000_0000..0x4000_0400),
        (arch.audit(), 0x8000_0000..0x8000_0010),
        (arch.audit(), 0xffff_fff0..0xffff_ffff),
    ] {
        for number in numbers {
            let (verdict, _) = run(program, &call(foreign, number, [0; 6]));
            assert_eq!(verdict, errno(ENOSYS), "arch {foreign:#x} call {number:#x}");
        }
    }
}

fn names(capabilities: &[Capability]) -> Vec<String> {
    capabilities.iter().map(ToString::to_string).collect()
}

#[test]
fn our_default_is_dockers_but_for_the_stated_differences() {
    let Some(text) = reference() else { return };
    let docker = serde_json::from_str(&text).unwrap();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for capabilities in capability_sets() {
            let naive = Naive::new(&docker, arch, &names(&capabilities));
            let newest = naive.newest();
            let socket = arch.number("socket").unwrap();
            let program = program_for(arch, &capabilities);
            compare(&program, arch, &naive, |number, args, docker| match number {
                _ if number > newest => errno(ENOSYS),
                _ if number == socket && args[0] == AF_ALG => errno(EPERM),
                _ => docker,
            });
        }
    }
}

#[test]
fn dockers_text_compiles_to_what_it_says() {
    let Some(text) = reference() else { return };
    let docker = serde_json::from_str(&text).unwrap();
    let profile = Profile::parse(&text).unwrap();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for capabilities in capability_sets() {
            let naive = Naive::new(&docker, arch, &names(&capabilities));
            let newest = naive.newest();
            let program = compile_for(&profile, arch, KERNEL, &capabilities).unwrap();
            compare(
                &program,
                arch,
                &naive,
                |number, _, docker| {
                    if number > newest { errno(ENOSYS) } else { docker }
                },
            );
        }
    }
}

/// The same without Docker's text: spot checks of what matters most.
#[test]
fn the_default_by_name() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let program = program_for(arch, DEFAULT);
        let judge = |program: &Program, name: &str, first: u64| {
            let number = arch.number(name).unwrap();
            run(program, &call(arch.audit(), number, [first, 0, 0, 0, 0, 0])).0
        };
        for name in ["read", "execve", "openat", "ptrace", "landlock_restrict_self", "chroot"] {
            assert_eq!(judge(&program, name, 0), ALLOW, "{name}");
        }
        for name in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "bpf",
            "perf_event_open",
            "keyctl",
            "add_key",
            "request_key",
            "io_uring_setup",
            "io_uring_enter",
            "userfaultfd",
            "init_module",
            "finit_module",
            "kexec_load",
            "reboot",
            "open_by_handle_at",
            "pivot_root",
            "fsopen",
            "open_tree",
            "move_mount",
            "mount_setattr",
            "swapon",
            "settimeofday",
            "quotactl",
            "move_pages",
            "mbind",
            "process_madvise",
            "kcmp",
            "acct",
            "syslog",
        ] {
            assert_eq!(judge(&program, name, 0), errno(EPERM), "{name}");
        }
        assert_eq!(judge(&program, "clone3", 0), errno(ENOSYS));
        assert_eq!(judge(&program, "open_tree_attr", 0), errno(ENOSYS));
        for (flags, verdict) in [
            (0x11, ALLOW),
            (0x3d_0f00, ALLOW),
            (0x1_0000_0000, ALLOW),
            (0x0002_0000, errno(EPERM)),
            (0x0200_0000, errno(EPERM)),
            (0x1000_0000, errno(EPERM)),
            (0x4000_0011, errno(EPERM)),
        ] {
            assert_eq!(judge(&program, "clone", flags), verdict, "clone {flags:#x}");
        }
        for family in 0..=64 {
            let verdict = if [38, 40].contains(&family) { errno(EPERM) } else { ALLOW };
            assert_eq!(judge(&program, "socket", family), verdict, "family {family}");
        }
        let admin = program_for(arch, Capability::ALL);
        for name in ["mount", "unshare", "clone3", "bpf", "reboot", "init_module", "syslog"] {
            assert_eq!(judge(&admin, name, u64::MAX), ALLOW, "{name}");
        }
        assert_eq!(judge(&admin, "io_uring_setup", 0), errno(EPERM));
        assert_eq!(judge(&admin, "clone", u64::MAX), ALLOW);
    }
}

/// The program is short, and no call takes many instructions.
#[test]
fn the_default_is_small() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let program = program_for(arch, DEFAULT);
        let longest = (0..1024)
            .map(|number| run(&program, &call(arch.audit(), number, [u64::MAX; 6])).1)
            .max()
            .unwrap();
        println!(
            "{arch:?}: {} instructions, at most {longest} a call",
            program.instructions().len()
        );
        assert!(program.instructions().len() < 220);
        assert!(longest < 32);
    }
}

#[test]
fn every_group_has_its_reason_and_every_name_is_a_call() {
    for group in PROFILE {
        assert!(group.reason.ends_with('.'), "{}", group.reason);
        for name in group.names {
            let known =
                [Arch::X86_64, Arch::Aarch64].iter().any(|arch| arch.number(name).is_some());
            assert!(known, "{name}");
        }
    }
}

#[test]
fn tables_are_sorted_and_numbers_unique() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let table = arch.table();
        assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let numbers: std::collections::HashSet<_> =
            table.iter().map(|(_, number)| number).collect();
        assert_eq!(numbers.len(), table.len());
    }
    for (name, number) in [("read", 0), ("clone3", 435), ("socket", 41), ("mseal", 462)] {
        assert_eq!(Arch::X86_64.number(name), Some(number));
    }
    assert_eq!(Arch::Aarch64.number("socket"), Some(198));
    assert_eq!(Arch::Aarch64.number("open"), None);
}
