//! Sealed jobs on layers, archives and trees: what they are, and how to have one done.
//!
//! The program `hull-worker` does one job and ends. Before it reads the first byte that someone
//! else wrote, it gives up everything the job does not need (`hull_sys::jail`): it can open
//! nothing but, for jobs that make a tree, what lies below the descriptors it was passed; it has
//! no network and cannot start anything.
//!
//! Not here: where results go and what they are compared with. Who asks for a job opens what it
//! needs, and publishes or throws away what it wrote.

mod git;
mod packages;

pub mod client;
pub mod job;
pub mod work;
