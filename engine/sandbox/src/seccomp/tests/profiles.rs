//! Reading profiles: what is refused, and what each key does.

use super::interpreter::run;
use super::{ALLOW, call, errno};
use crate::capability::Capability;
use crate::seccomp::profile::{KernelVersion, compile_for};
use crate::seccomp::rule::ENOSYS;
use crate::seccomp::{Arch, CompileError, Profile, compile};

#[track_caller]
fn refused(text: &str, message: &str) {
    assert_eq!(Profile::parse(text).unwrap_err().to_string(), message);
}

#[test]
fn bad_profiles() {
    let with = |rule: &str| format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#);
    refused("", "the seccomp profile is not in Docker's format");
    refused("[]", "the seccomp profile is not in Docker's format");
    refused("{}", "the seccomp profile is not in Docker's format");
    refused(
        &" ".repeat((1 << 20) + 1),
        "the seccomp profile has 1048577 bytes, at most 1048576 are read",
    );
    refused(
        r#"{"defaultAction":"SCMP_ACT_NOPE"}"#,
        "seccomp profile: unknown action \"SCMP_ACT_NOPE\"",
    );
    refused(
        &with(r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#),
        "seccomp profile: SCMP_ACT_NOTIFY is not supported",
    );
    refused(
        &with(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":4096}"#),
        "seccomp profile: 4096 is not an error number",
    );
    refused(
        &with(r#"{"name":"read","names":["write"],"action":"SCMP_ACT_LOG"}"#),
        "seccomp profile: both name and names",
    );
    refused(
        &with(r#"{"names":[],"action":"SCMP_ACT_LOG"}"#),
        "seccomp profile: a rule names no system call",
    );
    refused(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],
            "archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
        "seccomp profile: both architectures and archMap",
    );
    let arg = |arg: &str| {
        with(&format!(r#"{{"names":["read"],"action":"SCMP_ACT_LOG","args":[{arg}]}}"#))
    };
    refused(
        &arg(r#"{"index":6,"value":0,"op":"SCMP_CMP_EQ"}"#),
        "seccomp profile: read has no argument 6",
    );
    refused(
        &arg(r#"{"index":0,"value":0,"op":"EQ"}"#),
        "seccomp profile: unknown comparison \"EQ\" for read",
    );
}

const READ: u32 = 0;
const WRITE: u32 = 1;

#[track_caller]
fn verdict(text: &str, capabilities: &[Capability], number: u32) -> u32 {
    let profile = Profile::parse(text).unwrap();
    let arch = Arch::X86_64;
    let program = compile_for(&profile, arch, KernelVersion(5, 10), capabilities).unwrap();
    run(&program, &call(arch.audit(), number, [0; 6])).0
}

#[test]
fn conditions_of_groups() {
    let rule = |keys: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":null,"syscalls":[
                {{"names":["read","no_such_call"],"action":"SCMP_ACT_ALLOW","args":null,{keys}}},
                {{"name":"write","action":"SCMP_ACT_ERRNO","errnoRet":5}}]}}"#
        )
    };
    let both = &[Capability::KILL, Capability::BPF];
    for (keys, capabilities, expected) in [
        (r#""includes":{}"#, &both[..], ALLOW),
        (r#""includes":null"#, &both[..], ALLOW),
        (r#""includes":{"caps":["CAP_KILL","CAP_BPF"]}"#, &both[..], ALLOW),
        (r#""includes":{"caps":["CAP_KILL","CAP_BPF"]}"#, &both[..1], errno(1)),
        (r#""excludes":{"caps":["CAP_CHOWN","CAP_BPF"]}"#, &both[..], errno(1)),
        (r#""excludes":{"caps":["CAP_CHOWN","CAP_BPF"]}"#, &both[..1], ALLOW),
        (r#""includes":{"arches":["arm64"]}"#, &both[..], errno(1)),
        (r#""includes":{"arches":["arm64","amd64"]}"#, &both[..], ALLOW),
        (r#""excludes":{"arches":["amd64"]}"#, &both[..], errno(1)),
        (r#""includes":{"minKernel":"5.11"}"#, &both[..], errno(1)),
        (r#""includes":{"minKernel":"5.10"}"#, &both[..], ALLOW),
        (r#""excludes":{"minKernel":"4.8"}"#, &both[..], errno(1)),
    ] {
        assert_eq!(verdict(&rule(keys), capabilities, READ), expected, "{keys}");
        assert_eq!(verdict(&rule(keys), capabilities, WRITE), errno(5), "{keys}");
    }
}

#[test]
fn a_profile_that_allows_by_default_lets_new_calls_through_but_no_foreign_ones() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["write"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#;
    assert_eq!(verdict(text, &[], 100_000), ALLOW);
    assert_eq!(verdict(text, &[], WRITE), 0x8000_0000);
    assert_eq!(verdict(text, &[], 0x4000_0000), errno(ENOSYS));
    let program = compile(&Profile::parse(text).unwrap(), &[]).unwrap();
    assert_eq!(run(&program, &call(0x4000_0003, 4, [0; 6])).0, errno(ENOSYS));
}

#[test]
fn a_profile_without_rules() {
    assert_eq!(verdict(r#"{"defaultAction":"SCMP_ACT_LOG"}"#, &[], READ), 0x7ffc_0000);
    assert_eq!(verdict(r#"{"defaultAction":"SCMP_ACT_TRAP"}"#, &[], READ), 0x0003_0000);
}

#[test]
fn a_profile_too_long_for_the_kernel() {
    let conditions: Vec<String> = (0..1500u64)
        .map(|value| {
            format!(
                r#"{{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[
                    {{"index":1,"value":{},"op":"SCMP_CMP_EQ"}}]}}"#,
                value * 0x1_0001_0001
            )
        })
        .collect();
    let text =
        format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, conditions.join(","));
    let error = compile(&Profile::parse(&text).unwrap(), &[]).unwrap_err();
    let CompileError::TooLong { instructions } = error;
    assert!(instructions > 6000);
}

/// Long lists of alternatives make jumps beyond 255 instructions in both directions of the tree.
#[test]
fn far_jumps() {
    let rules: Vec<String> = (0..600u64)
        .map(|value| {
            let name =
                ["read", "getpid", "landlock_restrict_self"][usize::try_from(value % 3).unwrap()];
            format!(
                r#"{{"names":["{name}"],"action":"SCMP_ACT_ERRNO","errnoRet":{},"args":[
                    {{"index":2,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#,
                value + 1
            )
        })
        .collect();
    let text = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#, rules.join(","));
    let profile = Profile::parse(&text).unwrap();
    let arch = Arch::X86_64;
    let program = compile_for(&profile, arch, KernelVersion(6, 18), &[]).unwrap();
    for value in 0..700 {
        for (remainder, number) in [(0, 0), (1, 39), (2, 446)] {
            let (verdict, _) = run(&program, &call(arch.audit(), number, [0, 0, value, 0, 0, 0]));
            let expected = match u16::try_from(value) {
                Ok(value) if value < 600 && value % 3 == remainder => errno(value + 1),
                _ => ALLOW,
            };
            assert_eq!(verdict, expected, "call {number} value {value}");
        }
    }
}
