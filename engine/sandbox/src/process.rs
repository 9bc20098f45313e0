//! The last steps before a program runs, the same for a container's first process and an exec:
//! user, working directory, standard streams, capabilities, filter.

use std::ffi::{CString, NulError};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hull_sys::clone::SingleThreaded;
use hull_sys::descriptor::leave_to_exec;
use hull_sys::{descriptor, exec, seccomp, signal};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::process::{Signal, fchdir, getcwd, set_parent_process_death_signal, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::Stdio;
use crate::capability::Capability;
use crate::channel::ChildEnd;
use crate::error::{StartError, Step, reason};
use crate::exec_error;
use crate::path::{self, Kind};
use crate::spec::Process;
use crate::terminal::Terminal;
use crate::user::{self, User};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process's description, checked before anything is made for it.
#[derive(Debug)]
pub(crate) struct Prepared<'s> {
    process: &'s Process,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    capabilities: u64,
}

impl<'s> Prepared<'s> {
    pub(crate) fn new(process: &'s Process) -> Result<Self, StartError> {
        let strings = |strings: &[String]| -> Result<Vec<CString>, NulError> {
            strings.iter().map(|string| CString::new(string.as_str())).collect()
        };
        let zero = |_| StartError::invalid("an argument or environment variable holds a zero byte");
        if process.args.first().is_none_or(String::is_empty) {
            return Err(StartError::invalid("there is no command to run"));
        }
        if !process.cwd.starts_with('/') {
            return Err(StartError::invalid(format!(
                "the working directory {:?} is not absolute",
                process.cwd
            )));
        }
        Ok(Self {
            process,
            arguments: strings(&process.args).map_err(zero)?,
            environment: strings(&process.env).map_err(zero)?,
            capabilities: bits(&capabilities(process)?),
        })
    }

    pub(crate) fn wants_terminal(&self) -> bool {
        self.process.terminal
    }

    pub(crate) fn terminal_size(&self) -> Option<(u16, u16)> {
        self.process.terminal_size
    }
}

/// The capabilities a process is to have.
pub(crate) fn capabilities(process: &Process) -> Result<Vec<Capability>, StartError> {
    let parse = |name: &String| {
        Capability::parse(name).map_err(|error| StartError::invalid(error.to_string()))
    };
    process.capabilities.iter().map(parse).collect()
}

fn bits(capabilities: &[Capability]) -> u64 {
    capabilities.iter().fold(0, |bits, capability| bits | capability.bit())
}

/// What a process still needs, apart from its description.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// The root of the container, which is the root of this process too.
    pub root: BorrowedFd<'a>,
    pub stdio: Stdio,
    pub terminal: Option<Terminal>,
    /// Seccomp filter, each word one instruction.
    pub filter: Option<&'a [u64]>,
    /// How many ids the container has; absent in the host's user namespace.
    pub ids: Option<u32>,
    /// Whether the process has taken all ids of the container's root already.
    pub already_root: bool,
    pub proof: SingleThreaded,
    pub channel: &'a ChildEnd,
    /// Whether to stay behind as process 1 and look after the program.
    pub init: bool,
}

/// Becomes the program. Returns only why that failed.
pub(crate) fn become_program(prepared: Prepared<'_>, surroundings: Surroundings<'_>) -> StartError {
    match try_become(prepared, surroundings) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_become(
    prepared: Prepared<'_>,
    surroundings: Surroundings<'_>,
) -> Result<std::convert::Infallible, StartError> {
    let Surroundings { root, stdio, terminal, filter, ids, already_root, proof, channel, init } =
        surroundings;
    let process = prepared.process;
    let user = look_up(root, process)?;
    check_ids(&user, ids)?;
    setsid().step("start a session")?;
    attach_stdio(stdio, terminal, channel, &user)?;
    enter_working_directory(root, &process.cwd)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let (arguments, environment) = strings(prepared.arguments, prepared.environment, &user)?;
    let candidates = candidates(process)?;

    limit_capabilities(prepared.capabilities)?;
    // Without no_new_privs the kernel wants CAP_SYS_ADMIN for a filter, so it comes first.
    if let Some(filter) = filter
        && !process.no_new_privileges
    {
        seccomp::load(filter).step("load the seccomp filter")?;
    }
    become_user(&user, already_root, prepared.capabilities)?;
    // Changing ids cleared it.
    set_parent_process_death_signal(Some(Signal::KILL))
        .step("tie the process to its supervisor")?;
    if channel.orphaned() {
        return Err(StartError::internal("the supervisor is gone"));
    }
    signal::reset(proof.ignored_signals()).step("reset signals")?;
    descriptor::close_on_exec_from(3).step("close descriptors")?;
    if process.no_new_privileges {
        set_no_new_privs(true).step("forbid new privileges")?;
    }
    channel.executing()?;
    if let Some(filter) = filter
        && process.no_new_privileges
    {
        seccomp::load(filter).step("load the seccomp filter")?;
    }
    if init {
        crate::init::split(&proof)?;
    }
    Err(execute(&process.args[0], &candidates, &arguments, &environment, prepared.capabilities))
}

fn look_up(root: BorrowedFd<'_>, process: &Process) -> Result<User, StartError> {
    let passwd = account_file(root, "/etc/passwd")?;
    let group = account_file(root, "/etc/group")?;
    user::lookup(&passwd, &group, &process.user, &process.additional_groups).map_err(|error| {
        StartError::invalid(error.to_string())
            .hint("add it to the image, or name it by its number, which need not be in the file")
    })
}

fn check_ids(user: &User, ids: Option<u32>) -> Result<(), StartError> {
    let Some(ids) = ids else { return Ok(()) };
    let beyond = |what: &str, id: u32| {
        StartError::invalid(format!("{what} {id} is not among the {ids} ids of the container"))
            .hint("use --userns=host, or an id that is in the range")
    };
    if user.uid >= ids {
        return Err(beyond("user", user.uid));
    }
    let groups = std::iter::once(&user.gid).chain(&user.groups);
    groups.copied().find(|group| *group >= ids).map_or(Ok(()), |group| Err(beyond("group", group)))
}

/// A regular file's bytes; empty where there is none. A container must not be able to make the
/// engine wait (a FIFO), nor eat its memory.
fn account_file(root: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, StartError> {
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match path::resolve(root, path, flags) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        other => other.step_with(|| format!("open the container's {path}"))?,
    };
    let status = rustix::fs::fstat(&file).step_with(|| format!("check the container's {path}"))?;
    if !rustix::fs::FileType::from_raw_mode(status.st_mode).is_file() {
        return Err(StartError::invalid(format!("{path} in the container is not a regular file")));
    }
    let limit = u64::try_from(user::MAX_FILE).unwrap_or(u64::MAX);
    if u64::try_from(status.st_size).unwrap_or(u64::MAX) > limit {
        return Err(StartError::invalid(format!(
            "{path} in the container is larger than {limit} bytes"
        )));
    }
    let size = usize::try_from(status.st_size).unwrap_or(0);
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let read = rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))
            .step_with(|| format!("read the container's {path}"))?;
        if read == 0 {
            break;
        }
    }
    leave_to_exec(file);
    Ok(bytes)
}

fn attach_stdio(
    stdio: Stdio,
    terminal: Option<Terminal>,
    channel: &ChildEnd,
    user: &User,
) -> Result<(), StartError> {
    let what = "attach the standard streams";
    if let Some(Terminal { master, slave }) = terminal {
        let owner = (user.uid != 0).then(|| Uid::from_raw(user.uid));
        if owner.is_some() {
            rustix::fs::fchown(&slave, owner, None).step("give the terminal to the user")?;
        }
        rustix::process::ioctl_tiocsctty(&slave).step("make the terminal the controlling one")?;
        channel.console(master.as_fd())?;
        dup2_stdin(&slave).step(what)?;
        dup2_stdout(&slave).step(what)?;
        return dup2_stderr(&slave).step(what);
    }
    let Stdio { stdin, stdout, stderr } = stdio;
    let null = if stdin.is_none() || stdout.is_none() || stderr.is_none() {
        Some(open_null()?)
    } else {
        None
    };
    let or_null = |stream: &Option<OwnedFd>| -> Option<OwnedFd> {
        let stream = stream.as_ref().or(null.as_ref())?;
        // A stream that sits on 0 to 2 would be overwritten before its turn.
        if stream.as_raw_fd() > 2 { None } else { rustix::io::fcntl_dupfd_cloexec(stream, 3).ok() }
    };
    let moved = [or_null(&stdin), or_null(&stdout), or_null(&stderr)];
    let streams = [&stdin, &stdout, &stderr];
    for (number, (stream, moved)) in streams.into_iter().zip(&moved).enumerate() {
        let Some(stream) = moved.as_ref().or(stream.as_ref()).or(null.as_ref()) else { continue };
        if user.uid != 0 {
            give_pipe(stream, user);
        }
        match number {
            0 => dup2_stdin(stream),
            1 => dup2_stdout(stream),
            _ => dup2_stderr(stream),
        }
        .step(what)?;
    }
    // Closing them here would close what may be 0 to 2 by now.
    for stream in [stdin, stdout, stderr, null].into_iter().flatten() {
        leave_to_exec(stream);
    }
    Ok(())
}

/// Makes the user own the pipe, so that `/dev/stderr` can be opened. It stays unusable by path
/// where the pipe belongs to someone else, which is no reason not to start.
fn give_pipe(stream: &OwnedFd, user: &User) {
    let is_pipe = rustix::fs::fstat(stream)
        .is_ok_and(|status| rustix::fs::FileType::from_raw_mode(status.st_mode).is_fifo());
    if is_pipe {
        let _ = rustix::fs::fchown(
            stream,
            Some(Uid::from_raw(user.uid)),
            Some(Gid::from_raw(user.gid)),
        );
    }
}

/// The container's own null device: the host's must not be handed in, its mode could be changed.
fn open_null() -> Result<OwnedFd, StartError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())
        .step("open the container's /dev/null")?;
    let status = rustix::fs::fstat(&null).step("check the container's /dev/null")?;
    if status.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(StartError::invalid("/dev/null in the container is not the null device"));
    }
    Ok(null)
}

/// Enters the working directory, making it where it is missing.
fn enter_working_directory(root: BorrowedFd<'_>, path: &str) -> Result<(), StartError> {
    let wrong = |why: String| {
        StartError::invalid(format!("cannot use {path} as working directory: {why}"))
            .hint("name a directory with -w, or one that can be made")
    };
    let directory =
        path::ensure(root, path, Kind::Directory).map_err(|error| wrong(reason(&error.into())))?;
    fchdir(&directory).map_err(|error| wrong(reason(&error.into())))?;
    leave_to_exec(directory);
    // A directory outside the container shows as "(unreachable)/...".
    let shown = getcwd(Vec::new()).step("read the working directory")?;
    if !shown.as_bytes().starts_with(b"/") {
        return Err(wrong("it lies outside the container".to_owned()));
    }
    Ok(())
}

fn strings(
    arguments: Vec<CString>,
    mut environment: Vec<CString>,
    user: &User,
) -> Result<(exec::Strings, exec::Strings), StartError> {
    if !environment.iter().any(|variable| variable.as_bytes().starts_with(b"HOME=")) {
        let home = CString::new(format!("HOME={}", user.home)).step("set HOME")?;
        environment.push(home);
    }
    Ok((exec::Strings::new(arguments), exec::Strings::new(environment)))
}

/// The files to try, in order.
fn candidates(process: &Process) -> Result<Vec<CString>, StartError> {
    let name = process.args[0].as_str();
    let paths = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        let path = process.env.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
        let directories = path.filter(|path| !path.is_empty()).unwrap_or(DEFAULT_PATH).split(':');
        // An empty part means the working directory to a shell; here it means nothing.
        directories
            .filter(|directory| !directory.is_empty())
            .map(|directory| format!("{directory}/{name}"))
            .collect()
    };
    paths.into_iter().map(|path| CString::new(path).step("name the command")).collect()
}

/// Takes everything out of the bounding set but `keep`.
fn limit_capabilities(keep: u64) -> Result<(), StartError> {
    for number in 0..64 {
        if keep & (1 << number) == 0 {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))
            {
                Ok(()) => {}
                // Past the last one this kernel knows.
                Err(rustix::io::Errno::INVAL) => break,
                Err(error) => return Err(error).step("limit capabilities"),
            }
        }
    }
    Ok(())
}

/// Root keeps `keep`, others nothing; the inheritable and ambient sets are always empty
/// (CVE-2022-24769).
fn become_user(user: &User, already_root: bool, keep: u64) -> Result<(), StartError> {
    let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let id = |what: &str, number: u32| format!("become {what} {number}");
    set_thread_groups(&groups).step_with(|| format!("join groups {:?}", user.groups))?;
    if !(already_root && user.gid == 0) {
        let gid = Gid::from_raw(user.gid);
        set_thread_res_gid(gid, gid, gid).step_with(|| id("group", user.gid))?;
    }
    if !(already_root && user.uid == 0) {
        let uid = Uid::from_raw(user.uid);
        set_thread_res_uid(uid, uid, uid).step_with(|| id("user", user.uid))?;
    }
    let kept =
        if user.uid == 0 { CapabilitySet::from_bits_retain(keep) } else { CapabilitySet::empty() };
    let set = |kept| {
        let inheritable = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
    };
    match set(kept) {
        // In the host's user namespace nobody can be given what we lack ourselves.
        Err(rustix::io::Errno::PERM) => {
            let own = rustix::thread::capabilities(None).step("read our capabilities")?.permitted;
            set(kept & own).step("set capabilities")
        }
        other => other.step("set capabilities"),
    }
}

fn execute(
    name: &str,
    candidates: &[CString],
    arguments: &exec::Strings,
    environment: &exec::Strings,
    allowed: u64,
) -> StartError {
    use rustix::io::Errno;
    let mut denied = None;
    for path in candidates {
        let error = exec::execute(path, arguments, environment);
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR) => {}
            // Something by that name that is no program: a later directory may hold one.
            Some(Errno::ACCESS) => denied = denied.or(Some((path, error))),
            _ => return exec_error::explain(name, path, &error, allowed),
        }
    }
    if let Some((path, error)) = denied {
        return exec_error::explain(name, path, &error, allowed);
    }
    // A file that is there and was "not found" misses its interpreter.
    let present = candidates.iter().find(|path| rustix::fs::stat(path.as_c_str()).is_ok());
    match present {
        Some(path) => exec_error::explain(name, path, &Errno::NOENT.into(), allowed),
        None => exec_error::not_found(name),
    }
}
