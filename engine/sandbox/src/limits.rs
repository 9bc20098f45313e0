//! Limits of one process, set by its parent: raising them takes rights in the host's namespace.

use rustix::process::{Pid, Resource, prlimit};

use crate::error::{StartError, Step};
use crate::spec::Rlimit;

/// Sets resource limits and, unless it is 0, the out-of-memory score of process `pid`.
pub(crate) fn set(pid: Pid, rlimits: &[Rlimit], oom_score_adj: i32) -> Result<(), StartError> {
    for limit in rlimits {
        let resource = resource(&limit.name).ok_or_else(|| {
            StartError::invalid(format!("there is no resource limit {:?}", limit.name))
        })?;
        if limit.soft > limit.hard {
            return Err(StartError::invalid(format!(
                "the soft limit of {} ({}) is above the hard limit ({})",
                limit.name, limit.soft, limit.hard
            )));
        }
        let bound = |value: u64| (value != u64::MAX).then_some(value);
        let new =
            rustix::process::Rlimit { current: bound(limit.soft), maximum: bound(limit.hard) };
        prlimit(Some(pid), resource, new)
            .step_with(|| format!("set the resource limit {}", limit.name))?;
    }
    if oom_score_adj != 0 {
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), oom_score_adj.to_string())
            .step("set the out-of-memory score")?;
    }
    Ok(())
}

/// Docker's names.
fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}
