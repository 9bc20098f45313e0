//! Profiles as users write them: Docker's JSON, which contains the runtime-spec's.
//!
//! Spec: runtime-spec, config-linux.md, "Seccomp"; `includes`, `excludes`, `archMap` and `name`
//! are Docker's.

use std::fmt;

use serde::Deserialize;

use crate::capability::Capability;

use super::bpf::Program;
use super::compile::{self, CompileError};
use super::rule::{Action, Condition, EPERM, Operator, Table};
use super::syscalls::Arch;

/// Longest profile text that is read, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// A profile that was read and checked.
#[derive(Debug, Clone)]
pub struct Profile {
    default: Action,
    /// Names of architectures it is for; empty means the native one.
    architectures: Vec<String>,
    groups: Vec<Group>,
}

#[derive(Debug, Clone)]
struct Group {
    names: Vec<String>,
    action: Action,
    conditions: Vec<Condition>,
    includes: Filter,
    excludes: Filter,
}

/// For which containers a group counts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Filter {
    #[serde(deserialize_with = "null_is_empty")]
    caps: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    arches: Vec<String>,
    #[serde(rename = "minKernel")]
    min_kernel: Option<KernelVersion>,
}

/// A profile is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// More than 1 MiB of text.
    #[error("the seccomp profile has {bytes} bytes, at most {MAX_TEXT} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON, or not of this shape.
    #[error("the seccomp profile is not in Docker's format")]
    Json(#[source] serde_json::Error),
    /// An action that is not known or not supported.
    #[error("seccomp profile: unknown action {action:?}")]
    Action {
        /// As written.
        action: String,
    },
    /// An action that needs a listening process.
    #[error("seccomp profile: SCMP_ACT_NOTIFY is not supported")]
    Notify,
    /// A comparison that is not known.
    #[error("seccomp profile: unknown comparison {operator:?} for {call}")]
    Operator {
        /// As written.
        operator: String,
        /// The first call of the rule.
        call: String,
    },
    /// Arguments are 0 to 5.
    #[error("seccomp profile: {call} has no argument {index}")]
    Argument {
        /// As written.
        index: u64,
        /// The first call of the rule.
        call: String,
    },
    /// An error number over 4095, which no program can receive.
    #[error("seccomp profile: {number} is not an error number")]
    ErrorNumber {
        /// As written.
        number: u32,
    },
    /// Both `name` and `names`, both `architectures` and `archMap`, or no name at all.
    #[error("seccomp profile: {what}")]
    Shape {
        /// What is wrong.
        what: &'static str,
    },
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// See [`ParseError`]; unknown keys and unknown system calls are no errors.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_TEXT {
            return Err(ParseError::TooLarge { bytes: text.len() });
        }
        let raw: RawProfile = serde_json::from_str(text).map_err(ParseError::Json)?;
        if !raw.architectures.is_empty() && !raw.arch_map.is_empty() {
            return Err(ParseError::Shape { what: "both architectures and archMap" });
        }
        let architectures = if raw.arch_map.is_empty() {
            raw.architectures
        } else {
            raw.arch_map.into_iter().map(|entry| entry.architecture).collect()
        };
        let groups = raw.syscalls.into_iter().map(Group::new).collect::<Result<_, _>>()?;
        let default = action(&raw.default_action, raw.default_errno_ret)?;
        Ok(Self { default, architectures, groups })
    }

    /// Rules for one machine and one container. Only the native architecture is taken from the
    /// profile: see the module's documentation.
    fn table(&self, arch: Arch, kernel: KernelVersion, capabilities: &[Capability]) -> Table {
        let mut table = Table::new(self.default);
        let native = self.architectures.is_empty()
            || self.architectures.iter().any(|name| name == arch.libseccomp_name());
        if !native {
            // libseccomp always adds the native architecture: its calls get the rules as well.
            tracing::debug!(arch = arch.libseccomp_name(), "profile does not name this machine");
        }
        for group in &self.groups {
            if group.action == self.default || !group.applies(arch, kernel, capabilities) {
                continue;
            }
            for name in &group.names {
                match arch.number(name) {
                    Some(number) => table.add(number, &group.conditions, group.action),
                    None => tracing::debug!(%name, "seccomp profile: no such system call here"),
                }
            }
        }
        table
    }
}

/// Compiles `profile` for this machine and a container whose bounding set is `capabilities`.
///
/// # Errors
/// `TooLong` if the kernel would not take the program.
pub fn compile(profile: &Profile, capabilities: &[Capability]) -> Result<Program, CompileError> {
    let kernel = KernelVersion::of_this_machine();
    compile_for(profile, Arch::NATIVE, kernel, capabilities)
}

pub(super) fn compile_for(
    profile: &Profile,
    arch: Arch,
    kernel: KernelVersion,
    capabilities: &[Capability],
) -> Result<Program, CompileError> {
    compile::program(&profile.table(arch, kernel, capabilities), arch)
}

impl Group {
    fn new(raw: RawGroup) -> Result<Self, ParseError> {
        let names = match (raw.name, raw.names) {
            (Some(_), names) if !names.is_empty() => {
                return Err(ParseError::Shape { what: "both name and names" });
            }
            (Some(name), _) => vec![name],
            (None, names) => names,
        };
        let Some(call) = names.first() else {
            return Err(ParseError::Shape { what: "a rule names no system call" });
        };
        let conditions =
            raw.args.iter().map(|arg| arg.condition(call)).collect::<Result<_, _>>()?;
        let action = action(&raw.action, raw.errno_ret)?;
        Ok(Self { names, action, conditions, includes: raw.includes, excludes: raw.excludes })
    }

    fn applies(&self, arch: Arch, kernel: KernelVersion, capabilities: &[Capability]) -> bool {
        let has = |name: &String| capabilities.iter().any(|c| c.name() == name);
        let here = |name: &String| name == arch.docker_name();
        let Filter { caps, arches, min_kernel } = &self.excludes;
        let excluded = arches.iter().any(here)
            || caps.iter().any(has)
            || min_kernel.is_some_and(|least| kernel >= least);
        let Filter { caps, arches, min_kernel } = &self.includes;
        !excluded
            && (arches.is_empty() || arches.iter().any(here))
            && caps.iter().all(has)
            && min_kernel.is_none_or(|least| kernel >= least)
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, ParseError> {
    let data = || match u16::try_from(errno.unwrap_or(u32::from(EPERM))) {
        Ok(number) if number < 4096 => Ok(number),
        _ => Err(ParseError::ErrorNumber { number: errno.unwrap_or_default() }),
    };
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(data()?),
        "SCMP_ACT_TRACE" => Action::Trace(data()?),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_NOTIFY" => return Err(ParseError::Notify),
        other => return Err(ParseError::Action { action: other.to_owned() }),
    })
}

/// Major and minor version of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KernelVersion(pub(super) u32, pub(super) u32);

impl KernelVersion {
    fn of_this_machine() -> Self {
        let name = rustix::system::uname();
        let release = name.release().to_string_lossy();
        // A kernel that does not say its version is treated as the oldest.
        Self::parse(&release).unwrap_or(Self(0, 0))
    }

    /// Reads `6.12` or `6.12.3-anything`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?;
        let end = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self(major, minor[..end].parse().ok()?))
    }
}

impl<'de> Deserialize<'de> for KernelVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = KernelVersion;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a kernel version such as \"4.8\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<KernelVersion, E> {
                KernelVersion::parse(text)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProfile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arch_map: Vec<RawArchitecture>,
    #[serde(default, deserialize_with = "null_is_empty")]
    syscalls: Vec<RawGroup>,
}

#[derive(Deserialize)]
struct RawArchitecture {
    architecture: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawGroup {
    name: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    args: Vec<RawCondition>,
    #[serde(default, deserialize_with = "null_is_empty")]
    includes: Filter,
    #[serde(default, deserialize_with = "null_is_empty")]
    excludes: Filter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCondition {
    index: u64,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

impl RawCondition {
    fn condition(&self, call: &str) -> Result<Condition, ParseError> {
        let Ok(argument @ 0..=5) = u8::try_from(self.index) else {
            return Err(ParseError::Argument { index: self.index, call: call.to_owned() });
        };
        let operator = match self.op.as_str() {
            "SCMP_CMP_NE" => Operator::NotEqual(self.value),
            "SCMP_CMP_LT" => Operator::Less(self.value),
            "SCMP_CMP_LE" => Operator::LessOrEqual(self.value),
            "SCMP_CMP_EQ" => Operator::Equal(self.value),
            "SCMP_CMP_GE" => Operator::GreaterOrEqual(self.value),
            "SCMP_CMP_GT" => Operator::Greater(self.value),
            // Docker's `value` is the mask here and `valueTwo` what must be left.
            "SCMP_CMP_MASKED_EQ" => {
                Operator::MaskedEqual { mask: self.value, value: self.value_two }
            }
            other => {
                return Err(ParseError::Operator {
                    operator: other.to_owned(),
                    call: call.to_owned(),
                });
            }
        };
        Ok(Condition { argument, operator })
    }
}

/// Go writes an empty list as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
