//! Those who wait for an exit.

use std::os::fd::{AsFd, OwnedFd};

use hull_shim::protocol::{Exit, Reply};
use hull_sys::message::send_message;
use rustix::event::PollFlags;

use crate::interest::Interest;

/// Sockets on which an exit will be told.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    sockets: Vec<Option<OwnedFd>>,
}

impl Waiters {
    pub(crate) fn add(&mut self, socket: OwnedFd) {
        self.sockets.push(Some(socket));
    }

    pub(crate) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Adds them to what to wait for: only to learn that they gave up.
    pub(crate) fn interest<'a, T: Copy>(
        &'a self,
        all: &mut Interest<'a, T>,
        token: impl Fn(usize) -> T,
    ) {
        for (index, socket) in self.sockets.iter().enumerate() {
            if let Some(socket) = socket {
                all.add(socket.as_fd(), PollFlags::empty(), token(index));
            }
        }
    }

    /// This one gave up.
    pub(crate) fn forget(&mut self, index: usize) {
        self.sockets[index] = None;
    }

    pub(crate) fn sweep(&mut self) {
        self.sockets.retain(Option::is_some);
    }

    /// Tells everybody.
    pub(crate) fn tell(&mut self, exit: &Exit) {
        for socket in self.sockets.drain(..).flatten() {
            reply(socket, &Reply::Exited(exit.clone()));
        }
    }
}

/// Sends one reply. A socket carries at most two, so its buffer always has room for it.
pub(crate) fn reply(socket: impl AsFd, reply: &Reply) {
    let body = serde_json::to_vec(reply).expect("replies have no maps with odd keys");
    // Who asked may be gone: then nobody wants to know.
    let _gone = send_message(socket, &body, &[]);
}
