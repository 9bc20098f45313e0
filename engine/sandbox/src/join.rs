//! A further process in a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::clone::{Child, Cloned, Namespaces, SingleThreaded, clone_process, exit_now};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, pidfd_send_signal};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use crate::cgroup::{self, Entrance};
use crate::channel::{self, ChildEnd, Heard, Outcome, ParentEnd};
use crate::error::{StartError, StartErrorKind, Step};
use crate::process::{Prepared, Surroundings, become_program};
use crate::spec::Process;
use crate::start::{Running, end};
use crate::{Stdio, limits, terminal};

/// A process that was started in a running container.
#[derive(Debug)]
pub struct ExecProcess {
    /// As this process's pid namespace numbers it. The caller is its parent.
    pub pid: Pid,
    /// Refers to it.
    pub pidfd: OwnedFd,
    /// Master of its terminal, where it has one.
    pub console: Option<OwnedFd>,
}

/// A process that was released in a running container and has not executed its program yet.
///
/// For who must not wait for that: poll the descriptor, then [`ExecStarting::advance`].
#[derive(Debug)]
pub struct ExecStarting {
    child: Child,
    channel: ParentEnd,
    heard: Heard,
}

impl ExecStarting {
    /// The process once it executes, `None` if it does not yet.
    ///
    /// # Errors
    /// See [`StartError`]; no process is left then.
    pub fn advance(mut self) -> Result<Progress, StartError> {
        let outcome = self.channel.try_outcome(&mut self.heard);
        let started = match outcome {
            Ok(None) => return Ok(Progress::Starting(self)),
            Ok(Some(outcome)) => console_of(outcome),
            Err(error) => Err(error),
        };
        match started {
            Ok(console) => {
                let Child { pid, pidfd } = self.child;
                Ok(Progress::Started(ExecProcess { pid, pidfd, console }))
            }
            Err(error) => {
                drop(self.channel);
                end(&self.child);
                Err(error)
            }
        }
    }

    /// Gives up on it. The process is killed; the descriptor that is returned tells when it is
    /// gone, and the caller reaps it.
    #[must_use]
    pub fn kill(self) -> OwnedFd {
        let _gone = pidfd_send_signal(&self.child.pidfd, Signal::KILL);
        self.child.pidfd
    }
}

impl AsFd for ExecStarting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// How far a process is.
#[derive(Debug)]
pub enum Progress {
    /// Not there yet.
    Starting(ExecStarting),
    /// It executes its program.
    Started(ExecProcess),
}

impl Running {
    /// Starts a further process in the container, in all of its namespaces and cgroups, under its
    /// seccomp filter.
    ///
    /// The caller must have one thread, as for [`crate::start`].
    ///
    /// # Errors
    /// See [`StartError`]; no process is left then.
    pub fn exec(&self, process: &Process, stdio: Stdio) -> Result<ExecProcess, StartError> {
        let (child, channel) = self.prepare_exec(process, stdio)?;
        match attend(process, &child, &channel) {
            Ok(console) => Ok(ExecProcess { pid: child.pid, pidfd: child.pidfd, console }),
            Err(error) => {
                drop(channel);
                end(&child);
                Err(error)
            }
        }
    }

    /// The same without waiting for the process: it may hang before it executes.
    ///
    /// # Errors
    /// As [`Running::exec`].
    pub fn begin_exec(&self, process: &Process, stdio: Stdio) -> Result<ExecStarting, StartError> {
        let (child, channel) = self.prepare_exec(process, stdio)?;
        match limits::set(child.pid, &process.rlimits, 0).and_then(|()| channel.go(&[])) {
            Ok(()) => Ok(ExecStarting { child, channel, heard: Heard::default() }),
            Err(error) => {
                drop(channel);
                end(&child);
                Err(error)
            }
        }
    }

    /// Clones the process, which waits to be told to go.
    fn prepare_exec(
        &self,
        process: &Process,
        stdio: Stdio,
    ) -> Result<(Child, ParentEnd), StartError> {
        let prepared = Prepared::new(process)?;
        self.give_pipes(&stdio);
        let entrance = self.cgroup.entrance().map_err(|error| self.unless_exited(error))?;
        let (parent_end, child_end) = channel::pair()?;
        let proof = SingleThreaded::prove().step("start a process")?;
        // The container must not look into the copy of our memory once it can see the process.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .step("hide our memory")?;
        let cloned = self.clone_inside(&proof, &entrance);
        match cloned.map_err(|error| self.unless_exited(error))? {
            Cloned::Child => {
                drop(parent_end);
                self.run_child(prepared, stdio, entrance.tasks, proof, &child_end)
            }
            Cloned::Parent(child) => {
                drop(child_end);
                drop(stdio);
                Ok((child, parent_end))
            }
        }
    }

    /// Clones this process into the container's pid namespace and version 2 cgroup: no process
    /// in between is needed, and the caller is the parent.
    fn clone_inside(
        &self,
        proof: &SingleThreaded,
        entrance: &Entrance,
    ) -> Result<Cloned, StartError> {
        let own = open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .step("open our pid namespace")?;
        // Only decides where children are born; no process ever changes its own.
        move_into_thread_name_spaces(self.pidfd.as_fd(), ThreadNameSpaceType::PROCESS_ID)
            .step("enter the container's pid namespace")?;
        let unified = entrance.unified.as_ref().map(AsFd::as_fd);
        let cloned = clone_process(proof, Namespaces::NONE, unified);
        if !matches!(cloned, Ok(Cloned::Child)) {
            move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
                .step("return to our pid namespace")?;
        }
        cloned.step("clone a process into the container")
    }

    fn run_child(
        &self,
        prepared: Prepared<'_>,
        stdio: Stdio,
        tasks: Vec<OwnedFd>,
        proof: SingleThreaded,
        channel: &ChildEnd,
    ) -> ! {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let error = match self.join(tasks, channel) {
                Ok(None) => return,
                Ok(Some(root)) => self.become_exec(prepared, stdio, proof, channel, &root),
                Err(error) => error,
            };
            channel.failed(&error);
        }));
        drop(ended);
        exit_now(125)
    }

    /// Enters the container's cgroups and namespaces; returns its root, or `None` when the
    /// supervisor is gone.
    fn join(&self, tasks: Vec<OwnedFd>, channel: &ChildEnd) -> Result<Option<OwnedFd>, StartError> {
        if channel.wait_for_go()?.is_none() {
            return Ok(None);
        }
        cgroup::enter(tasks)?;
        match hull_sys::keyring::new_session() {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {}
            other => other.step("make a session keyring")?,
        }
        let mut namespaces = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::CONTROL_GROUP
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::NETWORK;
        namespaces.set(ThreadNameSpaceType::USER, self.ids.is_some());
        move_into_thread_name_spaces(self.pidfd.as_fd(), namespaces)
            .step("enter the container's namespaces")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open("/", flags, Mode::empty()).step("open the container's root").map(Some)
    }

    fn become_exec(
        &self,
        prepared: Prepared<'_>,
        stdio: Stdio,
        proof: SingleThreaded,
        channel: &ChildEnd,
        root: &OwnedFd,
    ) -> StartError {
        let terminal = match prepared.wants_terminal() {
            true => match open_terminal(root, prepared.terminal_size()) {
                Ok(terminal) => Some(terminal),
                Err(error) => return error,
            },
            false => None,
        };
        let filter = self.filter.as_deref();
        let ids = self.ids.as_ref().map(|ids| ids.size);
        let root = root.as_fd();
        become_program(
            prepared,
            Surroundings {
                root,
                stdio,
                terminal,
                filter,
                ids,
                already_root: false,
                proof,
                channel,
                init: false,
            },
        )
    }

    /// `error`, or that the container is not running any more where that is its reason.
    fn unless_exited(&self, error: StartError) -> StartError {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut exited = [PollFd::new(&self.pidfd, PollFlags::IN)];
        match poll(&mut exited, Some(&Timespec::default())) {
            Ok(1..) => StartError::new(StartErrorKind::Unavailable, "the container is not running"),
            _ => error,
        }
    }

    fn give_pipes(&self, stdio: &Stdio) {
        crate::start::give_pipes(stdio, self.ids.as_ref());
    }
}

fn open_terminal(
    root: &OwnedFd,
    size: Option<(u16, u16)>,
) -> Result<terminal::Terminal, StartError> {
    let dev = crate::path::resolve(root.as_fd(), "/dev", OFlags::PATH | OFlags::DIRECTORY)
        .step("open /dev in the container")?;
    terminal::open(dev.as_fd(), size)
}

fn attend(
    process: &Process,
    child: &Child,
    channel: &ParentEnd,
) -> Result<Option<OwnedFd>, StartError> {
    limits::set(child.pid, &process.rlimits, 0)?;
    console_of(channel.run(&[])?)
}

fn console_of(outcome: Outcome) -> Result<Option<OwnedFd>, StartError> {
    match outcome {
        Outcome::Executing { console } => Ok(console),
        Outcome::Failed(error) => Err(error),
        Outcome::Silent => Err(StartError::internal("the process died while it was set up")),
    }
}
