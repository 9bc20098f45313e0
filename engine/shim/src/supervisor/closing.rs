//! Closing a container's root file system beside the loop.
//!
//! Whoever lets go of an overlay last waits until its writable layer is on the disk, which may
//! take minutes. Between two runs that is a copy of this process, which holds nothing else: the
//! loop goes on, and the next run begins when the copy has ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::clone::{Cloned, Namespaces, SingleThreaded, clone_process, exit_now};
use hull_sys::descriptor::close_all_but;

use crate::exit::exit_code;

/// A root file system that is being closed.
#[derive(Debug)]
pub(crate) struct Closing {
    /// The process that does it.
    pidfd: OwnedFd,
}

impl Closing {
    /// Begins; `None` if it is over already.
    pub(crate) fn begin(root: OwnedFd) -> Option<Self> {
        let cloned =
            SingleThreaded::prove().and_then(|proof| clone_process(&proof, Namespaces::NONE, None));
        match cloned {
            Ok(Cloned::Child) => {
                // Clients must not wait for us to see the end of their streams.
                let code = i32::from(close_all_but(root.as_fd()).is_err());
                drop(root);
                exit_now(code);
            }
            Ok(Cloned::Parent(child)) => Some(Self { pidfd: child.pidfd }),
            // Without memory for a process it is done here: late is better than never.
            Err(_) => None,
        }
    }

    /// Waits for the end.
    pub(crate) fn wait(self) {
        exit_code(self.pidfd.as_fd());
    }
}

/// Readable at the end.
impl AsFd for Closing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
