//! Seccomp filters: from Docker's profile format, or our own default, to classic BPF.
//!
//! Not here: loading a filter into the kernel (`hull-sys`), and filters that hand calls to a
//! listener (`SCMP_ACT_NOTIFY` is refused).
//!
//! What a filter decides, in this order:
//!   1. another architecture than the native one -> `ENOSYS`. 32-bit calls are never allowed:
//!      `socketcall` cannot be filtered by its arguments, so one 32-bit instruction would reach
//!      every socket family the 64-bit rules deny;
//!   2. x32 calls -> `ENOSYS`;
//!   3. calls newer than the newest one the profile names -> `ENOSYS`, unless the profile's
//!      default lets calls through. Programs try a new call and fall back on `ENOSYS`; on
//!      `EPERM` they give up;
//!   4. the rules of the call, then the profile's default.
//!
//! Rules of one call are alternatives, conditions of one rule must all hold. Where one rule has
//! two conditions on the same argument, each of its conditions is an alternative, as every
//! engine that feeds libseccomp does it. A rule without conditions beats those with.

mod bpf;
mod compile;
mod default;
mod profile;
mod rule;
mod syscalls;

pub use bpf::{Instruction, MAX_INSTRUCTIONS, Program};
pub use compile::CompileError;
pub use default::default_program;
pub use profile::{ParseError, Profile, compile};
pub use rule::{Action, Condition, Operator};
pub use syscalls::Arch;

#[cfg(test)]
mod tests;
