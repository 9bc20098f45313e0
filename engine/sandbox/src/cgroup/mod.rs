//! cgroups: limits, accounting, freezing and killing of a container as a whole.
//!
//! Version 1, version 2 and hosts that have both are one model: a [`Topology`] is the list of
//! hierarchies the kernel shows us, and each controller belongs to the one that owns it. A
//! container has the directory `hull/<id>` in every hierarchy, its supervisor `hull/shim`.
//!
//! What to write where is computed apart from the writing (`limits`, `devices`), so that it
//! can be tested for hosts of every kind on one of them.
//!
//! Processes enter version 1 hierarchies by writing "0" to `tasks` themselves, and version 2 by
//! being cloned into it: the kernel waits about ten milliseconds for whoever writes a process id
//! to `cgroup.procs`.

mod container;
mod control;
pub(crate) mod devices;
mod limits;
mod stats;
mod topology;

pub use container::{Cgroup, leave};
pub(crate) use container::{Entrance, enter};
pub use control::CgroupError;
pub use stats::{Io, Stats, Throttling};
pub use topology::{Hierarchy, Topology, Version};
