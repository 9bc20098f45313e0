//! The seal every helper process puts itself under before it reads a byte that someone else
//! wrote.
//!
//! A sealed process keeps the descriptors it holds. Beyond them:
//!
//! - [`Purpose::Streams`]: it can reach nothing by name. No call that takes a path is left.
//! - [`Purpose::Trees`]: it can reach what lies below the directories it was given. They are
//!   detached views ([`confined`]) from which no `..` leads out, one of them is its root
//!   directory, and Landlock refuses to open, make or remove anything outside them.
//! - [`Purpose::Network`]: as streams, and it can connect to other hosts. It cannot listen.
//!
//! All: no other socket, no new process, no other program, no executable memory, no debugging, no
//! mounts, no namespaces, no capability that was not asked for, no new privileges, no core dump,
//! bounded memory and descriptors. It dies with the thread that started it. Threads can be
//! started; they are sealed too. Everything holds after a panic as before.
//!
//! The process must have one thread when it enters.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::{Resource, Rlimit, Signal};
pub use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::mount::{Attributes, add_attributes};

/// Address space, bytes. The largest layer that is allowed needs a few hundred MiB; glibc sets
/// aside 64 MiB a thread.
const MAX_MEMORY: u64 = 4 << 30;

const MAX_DESCRIPTORS: u64 = 1024;

/// The ids of a process that needs no others: nobody's, to which no file belongs.
const NOBODY: u32 = 65534;

/// What a process is to do once it is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To read and write the descriptors it has.
    Streams,
    /// That, and to read or make directory trees.
    Trees,
    /// To read and write the descriptors it has, and to connect to other hosts over TCP and UDP.
    /// What waits for events (epoll) has to be there already.
    Network,
}

/// A seal in the making.
#[derive(Debug)]
pub struct Jail<'a> {
    purpose: Purpose,
    capabilities: CapabilitySet,
    readable: Vec<BorrowedFd<'a>>,
    writable: Option<BorrowedFd<'a>>,
    user_namespace: Option<BorrowedFd<'a>>,
}

/// A seal that could not be put on. The process must end: it may be sealed in part.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A step failed.
    #[error("cannot seal this process: {step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel cannot confine a process to a directory.
    #[error("cannot seal this process: the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK)")]
    NoLandlock,
    /// The parent ended meanwhile.
    #[error("cannot seal this process: its parent is gone")]
    Orphan,
}

impl<'a> Jail<'a> {
    /// Nothing but the purpose asks for.
    pub fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            capabilities: CapabilitySet::empty(),
            readable: Vec::new(),
            writable: None,
            user_namespace: None,
        }
    }

    /// Capabilities to keep, as far as they are there. Without any, a process that is root also
    /// gives up its ids.
    #[must_use]
    pub fn capabilities(mut self, capabilities: CapabilitySet) -> Self {
        self.capabilities |= capabilities;
        self
    }

    /// A directory that may be read, with all below it. Where nothing may be written, the first
    /// one becomes the root directory.
    #[must_use]
    pub fn readable(mut self, directory: BorrowedFd<'a>) -> Self {
        self.readable.push(directory);
        self
    }

    /// The directory that may be written, with all below it. It becomes the root directory.
    #[must_use]
    pub fn writable(mut self, directory: BorrowedFd<'a>) -> Self {
        self.writable = Some(directory);
        self
    }

    /// The user namespace to be root of: ids are then that namespace's, and capabilities hold in
    /// it alone.
    #[must_use]
    pub fn user_namespace(mut self, user_namespace: BorrowedFd<'a>) -> Self {
        self.user_namespace = Some(user_namespace);
        self
    }

    /// Seals the calling process, for good.
    ///
    /// # Errors
    /// As [`SealError`] says.
    pub fn enter(self) -> Result<(), SealError> {
        let parent = rustix::process::getppid();
        limit_resources()?;
        if let Some(user_namespace) = self.user_namespace {
            enter_user_namespace(user_namespace)?;
        }
        if let Some(root) = self.writable.or(self.readable.first().copied()) {
            change_root(root)?;
        }
        drop_privileges(self.capabilities)?;
        self.enter_landlock()?;
        // Changes of ids and capabilities reset these two, so they come after.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(|error| step("refuse to be debugged", error))?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| step("end with the parent", error))?;
        if rustix::process::getppid() != parent {
            return Err(SealError::Orphan);
        }
        load_filters(self.purpose)
    }

    fn enter_landlock(&self) -> Result<(), SealError> {
        let failed = |error: landlock::RulesetError| step("Landlock", io::Error::other(error));
        let abi = ABI::V6;
        let network = match self.purpose {
            Purpose::Network => BitFlags::from(AccessNet::BindTcp),
            Purpose::Streams | Purpose::Trees => AccessNet::from_all(abi),
        };
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(abi))
            .and_then(|rules| rules.handle_access(network))
            .and_then(|rules| rules.scope(Scope::from_all(abi)))
            .and_then(Ruleset::create)
            .map_err(failed)?;
        for directory in &self.readable {
            let rule = PathBeneath::new(directory, AccessFs::ReadFile | AccessFs::ReadDir);
            rules = rules.add_rule(rule).map_err(failed)?;
        }
        if let Some(directory) = &self.writable {
            let rule = PathBeneath::new(directory, tree_access(abi));
            rules = rules.add_rule(rule).map_err(failed)?;
        }
        let status = rules.restrict_self().map_err(failed)?;
        // Without calls that take paths the filter alone is enough.
        if status.ruleset == RulesetStatus::NotEnforced && self.purpose == Purpose::Trees {
            return Err(SealError::NoLandlock);
        }
        Ok(())
    }
}

/// A view of `directory` from which no `..` leads out, open for reading: its own mount, attached
/// nowhere. Without the right to make one (in a process that is not root) it is the directory
/// itself, and Landlock alone confines.
///
/// # Errors
/// The system's.
pub fn confined(directory: &OwnedFd) -> io::Result<OwnedFd> {
    view(directory, Attributes::NONE)
}

/// As [`confined`]; through the view nothing can be written, not even attributes, if the caller
/// may make one.
///
/// # Errors
/// The system's.
pub fn confined_to_read(directory: &OwnedFd) -> io::Result<OwnedFd> {
    view(directory, Attributes::RDONLY.and(Attributes::NOSUID).and(Attributes::NODEV))
}

fn view(directory: &OwnedFd, attributes: Attributes) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let directory_flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |at: BorrowedFd<'_>| rustix::fs::openat(at, ".", directory_flags, Mode::empty());
    match rustix::mount::open_tree(directory, "", flags) {
        Ok(view) => {
            if attributes != Attributes::NONE {
                add_attributes(&view, attributes, false)?;
            }
            Ok(open(view.as_fd())?)
        }
        // EINVAL: its mount is not of this namespace, as a detached one is not; `..` ends there.
        // Linux before 6.15 makes no views of those.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => Ok(open(directory.as_fd())?),
        Err(error) => Err(error.into()),
    }
}

fn limit_resources() -> Result<(), SealError> {
    let limits = [
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Nofile, MAX_DESCRIPTORS),
        (Resource::As, MAX_MEMORY),
    ];
    for (resource, most) in limits {
        let known = rustix::process::getrlimit(resource);
        let most = known.maximum.map_or(most, |maximum| maximum.min(most));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(resource, limit)
            .map_err(|error| step("limit resources", error))?;
    }
    Ok(())
}

/// Becomes the root of a user namespace. Groups go first: they are those of the host.
fn enter_user_namespace(user_namespace: BorrowedFd<'_>) -> Result<(), SealError> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let failed = |error| step("enter the user namespace", error);
    rustix::thread::set_thread_groups(&[]).map_err(failed)?;
    move_into_link_name_space(user_namespace, Some(LinkNameSpaceType::User)).map_err(failed)?;
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)
}

fn change_root(root: BorrowedFd<'_>) -> Result<(), SealError> {
    let failed = |error| step("change the root directory", error);
    rustix::process::fchdir(root).map_err(failed)?;
    match rustix::process::chroot(".") {
        // Not root: what `confined` says holds here too.
        Err(rustix::io::Errno::PERM) => Ok(()),
        result => result.map_err(failed),
    }
}

/// Keeps `wanted` of the capabilities there are, and nothing to gain more by.
fn drop_privileges(wanted: CapabilitySet) -> Result<(), SealError> {
    let held = rustix::thread::capabilities(None)
        .map_err(|error| step("read the capabilities", error))?
        .permitted;
    if held.contains(CapabilitySet::SETPCAP) {
        drop_bounding_set()?;
    }
    rustix::thread::clear_ambient_capability_set()
        .map_err(|error| step("clear the ambient capabilities", error))?;
    if wanted.is_empty() && held.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
        drop_ids()?;
    }
    let kept = wanted & held;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
        .map_err(|error| step("drop capabilities", error))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| step("set no_new_privs", error))
}

fn drop_bounding_set() -> Result<(), SealError> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(capability)
                .map_err(|error| step("drop the bounding set", error))?,
            Ok(false) => {}
            // There are no more.
            Err(_) => break,
        }
    }
    Ok(())
}

fn drop_ids() -> Result<(), SealError> {
    let uid = rustix::process::Uid::from_raw(NOBODY);
    let gid = rustix::process::Gid::from_raw(NOBODY);
    rustix::thread::set_thread_groups(&[]).map_err(|error| step("drop groups", error))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|error| step("drop the group id", error))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(|error| step("drop the user id", error))
}

/// What making a tree takes: not executing, not device ioctls, not sockets.
fn tree_access(abi: ABI) -> BitFlags<AccessFs> {
    AccessFs::from_all(abi) & !(AccessFs::Execute | AccessFs::IoctlDev | AccessFs::MakeSock)
}

fn load_filters(purpose: Purpose) -> Result<(), SealError> {
    let failed = |error: seccompiler::Error| step("seccomp", io::Error::other(error));
    // The kernel takes the stricter answer of several filters.
    for filter in [no_clone3(), allow_list(purpose)] {
        let program: BpfProgram = filter
            .and_then(TryInto::try_into)
            .map_err(|error| failed(seccompiler::Error::Backend(error)))?;
        seccompiler::apply_filter(&program).map_err(failed)?;
    }
    Ok(())
}

/// clone3 keeps its flags in memory, where no filter sees them. glibc falls back to clone. Of two
/// filters that refuse a call the later one's error counts, so that one has to let it pass.
fn no_clone3() -> Result<SeccompFilter, seccompiler::BackendError> {
    SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno(libc::ENOSYS)),
        std::env::consts::ARCH.try_into()?,
    )
}

/// Everything that is not listed gets EPERM: nothing a sealed process does by right is refused,
/// and what libc only tries, as reading the machine's settings, it can do without.
fn allow_list(purpose: Purpose) -> Result<SeccompFilter, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    for (call, _) in STREAM_CALLS {
        rules.insert(*call, Vec::new());
    }
    if purpose == Purpose::Trees {
        for (call, _) in TREE_CALLS {
            rules.insert(*call, Vec::new());
        }
    }
    for (call, allowed) in checked_calls()? {
        rules.insert(call, allowed);
    }
    if purpose == Purpose::Network {
        for (call, _) in NETWORK_CALLS {
            rules.insert(*call, Vec::new());
        }
        for (call, allowed) in checked_network_calls()? {
            rules.insert(call, allowed);
        }
    }
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(errno(libc::EPERM)),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )
}

/// Allowed for every purpose, with any arguments.
const STREAM_CALLS: &[(i64, &str)] = &[
    (libc::SYS_read, "input"),
    (libc::SYS_pread64, "input that several processes share"),
    (libc::SYS_write, "output, and the message of a panic"),
    (libc::SYS_writev, "the same, in pieces"),
    (libc::SYS_close, "descriptors that are done with"),
    (libc::SYS_fstat, "the size of a file that is read whole"),
    (libc::SYS_lseek, "the same"),
    (libc::SYS_fdatasync, "results are on disk before they are reported"),
    (libc::SYS_ftruncate, "the end of what is written in whole blocks, what lay behind a blob"),
    (libc::SYS_sync_file_range, "so that the sync at the end is short"),
    (libc::SYS_sendmsg, "the answer"),
    (libc::SYS_sendto, "the answer"),
    (libc::SYS_munmap, "the allocator"),
    (libc::SYS_mremap, "the allocator; keeps the protection"),
    (libc::SYS_brk, "the allocator"),
    (libc::SYS_madvise, "the allocator, and a thread's stack at its end"),
    (libc::SYS_futex, "locks, channels, waiting for a thread"),
    (libc::SYS_clone3, "to be refused by the other filter, with the error that libc expects"),
    (libc::SYS_set_robust_list, "a thread's begin"),
    (libc::SYS_rseq, "a thread's begin"),
    (libc::SYS_rt_sigprocmask, "a thread's begin and end, abort"),
    (libc::SYS_rt_sigaction, "abort"),
    (libc::SYS_rt_sigreturn, "a signal handler's end"),
    (libc::SYS_sigaltstack, "a thread's begin and end: stack overflow is reported"),
    (libc::SYS_gettid, "abort, thread names"),
    (libc::SYS_getpid, "abort"),
    (libc::SYS_sched_yield, "locks"),
    (libc::SYS_sched_getaffinity, "the allocator counts processors; a thread's stack"),
    (libc::SYS_getrandom, "seeds of hash tables and of the allocator"),
    (libc::SYS_clock_gettime, "waiting with a limit, without vDSO"),
    (libc::SYS_restart_syscall, "after a stop"),
    (libc::SYS_exit, "a thread's end"),
    (libc::SYS_exit_group, "the end"),
];

/// Allowed for [`Purpose::Trees`] beside those.
const TREE_CALLS: &[(i64, &str)] = &[
    (libc::SYS_openat, "files, by name in an open directory"),
    (libc::SYS_openat2, "directories, never through a symlink"),
    (libc::SYS_getdents64, "reading directories"),
    (libc::SYS_newfstatat, "kind and attributes of what is copied"),
    (libc::SYS_statx, "the same"),
    (libc::SYS_fstatfs, "which directories are the kernel's own and not entered"),
    (libc::SYS_readlinkat, "symlinks that are copied"),
    (libc::SYS_flistxattr, "extended attributes that are copied"),
    (libc::SYS_fgetxattr, "the same"),
    (libc::SYS_mkdirat, "directories"),
    (libc::SYS_symlinkat, "symlinks"),
    (libc::SYS_linkat, "hard links"),
    (libc::SYS_mknodat, "devices, pipes, whiteouts"),
    (libc::SYS_unlinkat, "what a later entry replaces"),
    (libc::SYS_fchown, "owners of files and directories"),
    (libc::SYS_fchownat, "owners of everything else"),
    (libc::SYS_fchmod, "modes of files and directories"),
    (libc::SYS_fchmodat, "modes of devices and pipes"),
    (libc::SYS_utimensat, "times"),
    (libc::SYS_fsetxattr, "extended attributes"),
    (libc::SYS_syncfs, "the tree is on disk before it is reported"),
];

/// Allowed for [`Purpose::Network`] beside those of streams.
const NETWORK_CALLS: &[(i64, &str)] = &[
    (libc::SYS_connect, "hosts and name servers"),
    (libc::SYS_getsockopt, "whether connecting worked"),
    (libc::SYS_getsockname, "what a connection is"),
    (libc::SYS_getpeername, "the same"),
    (libc::SYS_recvfrom, "what hosts send"),
    (libc::SYS_recvmsg, "calls, with their descriptors"),
    (libc::SYS_shutdown, "the end of what is sent"),
    (libc::SYS_epoll_ctl, "which sockets are waited for"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "waiting"),
    (libc::SYS_epoll_pwait, "waiting"),
    (libc::SYS_pwrite64, "a blob, where it goes on"),
    (libc::SYS_pwritev, "the same, in pieces"),
    (libc::SYS_splice, "a blob to who unpacks it, without a copy"),
];

/// Allowed for [`Purpose::Network`] with some arguments only.
fn checked_network_calls() -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::BackendError> {
    let value = |index, value: i32| condition(index, SeccompCmpOp::Eq, value);
    let kind = |kind: i32| condition(1, SeccompCmpOp::MaskedEq(0xf), kind);
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for number in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            sockets.push(rule(vec![value(0, family)?, kind(number)?, value(2, 0)?])?);
        }
    }
    let no_delay = vec![value(1, libc::IPPROTO_TCP)?, value(2, libc::TCP_NODELAY)?];
    Ok(vec![(libc::SYS_socket, sockets), (libc::SYS_setsockopt, vec![rule(no_delay)?])])
}

/// Allowed with some arguments only.
fn checked_calls() -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::BackendError> {
    let value = |index, value: i32| condition(index, SeccompCmpOp::Eq, value);
    let without = |index, bits: i32| {
        condition(index, SeccompCmpOp::MaskedEq(u64::from(bits.cast_unsigned())), 0)
    };
    // What pthread_create asks for; no flag that makes a process or a namespace.
    let thread = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    let this = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    Ok(vec![
        // Memory that is no code.
        (libc::SYS_mmap, vec![rule(vec![without(2, libc::PROT_EXEC)?])?]),
        (libc::SYS_mprotect, vec![rule(vec![without(2, libc::PROT_EXEC)?])?]),
        (libc::SYS_clone, vec![rule(vec![value(0, thread)?])?]),
        // Abort ends this process, no other.
        (libc::SYS_tgkill, vec![rule(vec![value(0, this)?])?]),
        (libc::SYS_prctl, vec![rule(vec![value(0, libc::PR_SET_NAME)?])?]),
        (
            libc::SYS_fcntl,
            vec![
                // A debug build checks that what it closes is open.
                rule(vec![value(1, libc::F_GETFD)?])?,
                rule(vec![value(1, libc::F_GETFL)?])?,
                rule(vec![value(1, libc::F_DUPFD_CLOEXEC)?])?,
            ],
        ),
    ])
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions)
}

fn condition(
    index: u8,
    operation: SeccompCmpOp,
    value: i32,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operation, value)
}

fn errno(number: i32) -> u32 {
    number.cast_unsigned()
}

fn step(step: &'static str, source: impl Into<io::Error>) -> SealError {
    SealError::Step { step, source: source.into() }
}
