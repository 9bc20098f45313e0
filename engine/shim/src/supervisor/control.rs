//! Connections on the control socket, until their request has arrived.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_shim::protocol::{
    Control, Failure, FailureKind, MAX_START_BYTES, Reply, Request, VERSION,
};

use crate::inbox::Inbox;
use crate::waiters::reply;

/// A connection whose request has not arrived completely.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    inbox: Inbox,
}

/// What came over a connection.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) socket: OwnedFd,
}

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// More has to come.
    Waiting(Connection),
    /// The request is here.
    Asked(Box<Asked>),
    /// It is closed, or was told that its request makes no sense.
    Over,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, inbox: Inbox::default() }
    }

    /// Reads what has come.
    pub(crate) fn advance(mut self) -> Progress {
        let (body, descriptors) = match self.inbox.receive(&self.socket, MAX_START_BYTES) {
            Ok(Some(message)) => message,
            Ok(None) => return Progress::Waiting(self),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    reply(&self.socket, &Reply::Failed(invalid(&error.to_string())));
                }
                return Progress::Over;
            }
        };
        match serde_json::from_slice::<Control>(&body) {
            Ok(control) => Progress::Asked(Box::new(Asked {
                request: control.request,
                descriptors,
                socket: self.socket,
            })),
            Err(error) => {
                let message =
                    format!("unknown request to a supervisor of version {VERSION}: {error}");
                reply(&self.socket, &Reply::Failed(invalid(&message)));
                Progress::Over
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(FailureKind::Invalid, message)
}
