//! What a parent and the child it cloned say to each other.
//!
//! One `SOCK_SEQPACKET` pair. The parent sends once: "go", with the descriptors it made in the
//! meantime. The child sends its console, if it has one, then either an error or "executing"; the
//! end of the stream behind "executing" is the exec itself, which closes the child's end.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::error::{StartError, Step};

/// More than a root file system and one `tasks` file for each of the kernel's hierarchies.
const MAX_DESCRIPTORS: usize = 32;

/// Longer errors are cut: a message is one datagram.
const MAX_MESSAGE: usize = 16 << 10;

const GO: &[u8] = b"go";
const CONSOLE: &[u8] = b"console";
const EXECUTING: &[u8] = b"executing";

/// The parent's end.
#[derive(Debug)]
pub(crate) struct ParentEnd(OwnedFd);

/// The child's end.
#[derive(Debug)]
pub(crate) struct ChildEnd(OwnedFd);

/// How the child's set-up ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It executes its program; with the master of its terminal, if it has one.
    Executing { console: Option<OwnedFd> },
    /// It gave up.
    Failed(StartError),
    /// It ended without a word: something killed it.
    Silent,
}

/// What a child has said so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    console: Option<OwnedFd>,
    executing: bool,
}

pub(crate) fn pair() -> Result<(ParentEnd, ChildEnd), StartError> {
    let (parent, child) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .step("make a socket for the container's first process")?;
    Ok((ParentEnd(parent), ChildEnd(child)))
}

impl From<ParentEnd> for OwnedFd {
    fn from(end: ParentEnd) -> Self {
        end.0
    }
}

impl ParentEnd {
    /// Sends "go" with `descriptors` and waits for the child to execute or to fail.
    pub(crate) fn run(&self, descriptors: &[BorrowedFd<'_>]) -> Result<Outcome, StartError> {
        self.go(descriptors)?;
        let mut heard = Heard::default();
        loop {
            if let Some(outcome) = self.hear(&mut heard, RecvFlags::empty())? {
                return Ok(outcome);
            }
        }
    }

    /// Sends "go" with `descriptors`.
    pub(crate) fn go(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), StartError> {
        match send(self.0.as_fd(), GO, descriptors) {
            // The child gave up before it was asked: what it has to say is waiting.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(error).step("release the container's first process"),
        }
    }

    /// The outcome if it has come; `None` if the child is not that far yet.
    pub(crate) fn try_outcome(&self, heard: &mut Heard) -> Result<Option<Outcome>, StartError> {
        while is_readable(self.0.as_fd()) {
            let outcome = self.hear(heard, RecvFlags::DONTWAIT)?;
            if outcome.is_some() {
                return Ok(outcome);
            }
        }
        Ok(None)
    }

    /// Takes one message; the outcome if it was the last.
    fn hear(&self, heard: &mut Heard, flags: RecvFlags) -> Result<Option<Outcome>, StartError> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, mut descriptors) = receive(self.0.as_fd(), &mut buffer, flags)
            .step("hear from the container's first process")?;
        match &buffer[..length] {
            [] if heard.executing => {
                return Ok(Some(Outcome::Executing { console: heard.console.take() }));
            }
            [] => return Ok(Some(Outcome::Silent)),
            EXECUTING => heard.executing = true,
            CONSOLE => heard.console = descriptors.pop(),
            error => {
                let error = serde_json::from_slice(error).map_err(|_| {
                    StartError::internal("the container's first process sent nonsense")
                })?;
                return Ok(Some(Outcome::Failed(error)));
            }
        }
        Ok(None)
    }
}

impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn is_readable(socket: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut sockets = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    matches!(poll(&mut sockets, Some(&Timespec::default())), Ok(1..))
}

impl ChildEnd {
    /// Waits for "go"; `None` when the parent is gone.
    pub(crate) fn wait_for_go(&self) -> Result<Option<Vec<OwnedFd>>, StartError> {
        let mut buffer = [0; 8];
        let (length, descriptors) = receive(self.0.as_fd(), &mut buffer, RecvFlags::empty())
            .step("wait for the supervisor")?;
        Ok((&buffer[..length] == GO).then_some(descriptors))
    }

    pub(crate) fn console(&self, master: BorrowedFd<'_>) -> Result<(), StartError> {
        send(self.0.as_fd(), CONSOLE, &[master]).step("hand over the terminal")
    }

    pub(crate) fn executing(&self) -> Result<(), StartError> {
        send(self.0.as_fd(), EXECUTING, &[]).step("report to the supervisor")
    }

    /// Reports why set-up failed. There is nobody to tell when that fails too: the parent sees
    /// the end of the stream either way.
    pub(crate) fn failed(&self, error: &StartError) {
        let mut error = error.clone();
        let mut length = error.message.len().min(MAX_MESSAGE / 8);
        while !error.message.is_char_boundary(length) {
            length -= 1;
        }
        error.message.truncate(length);
        if let Ok(text) = serde_json::to_vec(&error) {
            let _ = send(self.0.as_fd(), &text, &[]);
        }
    }

    /// Whether the parent is gone.
    pub(crate) fn orphaned(&self) -> bool {
        let mut byte = [0u8];
        let received = rustix::net::recv(&self.0, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK);
        !matches!(received, Err(Errno::AGAIN))
    }
}

fn send(socket: BorrowedFd<'_>, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(body)], &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let parts = &mut [IoSliceMut::new(buffer)];
        recvmsg(socket, parts, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC)
    });
    let length = match received {
        Ok(received) => received.bytes,
        // The other end died with a message of ours unread: the same as an end of the stream.
        Err(Errno::CONNRESET) => 0,
        Err(error) => return Err(error),
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((length, descriptors))
}
