//! The default profile: what every container may call, with the reason for each group.
//!
//! It decides as Docker's default profile does, with these differences:
//!   - sockets of family `AF_ALG` are refused: the kernel's crypto interface is a large surface
//!     that container software does not need, and it has been the way out of containers;
//!   - 32-bit and x32 calls are answered with `ENOSYS`, so calls that only those interfaces
//!     have are absent;
//!   - calls newer than the newest one named here are answered with `ENOSYS`.
//!
//! Everything not named is refused with `EPERM`: it acts on the whole machine (modules, swap,
//! clocks, reboot), reaches kernel memory or keys shared by all containers, or is a young and
//! large surface (`io_uring`, `userfaultfd`).

use crate::capability::Capability;

use super::bpf::Program;
use super::compile;
use super::rule::{Action, Condition, ENOSYS, EPERM, Operator, Table};
use super::syscalls::Arch;

/// Some calls, when they are judged like this, and why.
pub(super) struct Group {
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader; tests ask for it"))]
    pub(super) reason: &'static str,
    pub(super) when: When,
    pub(super) action: Action,
    /// Alternatives; none means whatever the arguments.
    pub(super) conditions: &'static [Condition],
    pub(super) names: &'static [&'static str],
}

/// For which containers a group counts.
#[derive(Clone, Copy)]
pub(super) enum When {
    Always,
    /// Those that have the capability.
    With(Capability),
    /// Those that do not.
    Without(Capability),
}

/// The built-in filter for a container whose bounding set is `capabilities`, on this machine's
/// architecture.
pub fn default_program(capabilities: &[Capability]) -> Program {
    program_for(Arch::NATIVE, capabilities)
}

pub(super) fn program_for(arch: Arch, capabilities: &[Capability]) -> Program {
    let mut table = Table::new(Action::Errno(EPERM));
    let numbers = match arch {
        Arch::X86_64 => &X86_64,
        Arch::Aarch64 => &AARCH64,
    };
    let mut numbers = numbers.iter();
    for group in PROFILE {
        // A call that this architecture does not have cannot be called.
        let calls = numbers.by_ref().take(group.names.len()).flatten();
        if !group.when.holds(capabilities) {
            calls.for_each(drop);
            continue;
        }
        for number in calls {
            if group.conditions.is_empty() {
                table.add(*number, &[], group.action);
            }
            for condition in group.conditions {
                table.add(*number, &[*condition], group.action);
            }
        }
    }
    compile::program(&table, arch).expect("the built-in profile is far below the kernel's limit")
}

/// The numbers of all names of the profile, group after group, found by the compiler: looking
/// up some 400 names at every start costs more than the rest.
static X86_64: [Option<u32>; NAMES] = numbers(Arch::X86_64);
static AARCH64: [Option<u32>; NAMES] = numbers(Arch::Aarch64);

/// How many names the profile has, with repetitions.
const NAMES: usize = {
    let (mut group, mut names) = (0, 0);
    while group < PROFILE.len() {
        names += PROFILE[group].names.len();
        group += 1;
    }
    names
};

const fn numbers(arch: Arch) -> [Option<u32>; NAMES] {
    let mut numbers = [None; NAMES];
    let (mut group, mut at) = (0, 0);
    while group < PROFILE.len() {
        let names = PROFILE[group].names;
        let mut name = 0;
        while name < names.len() {
            numbers[at] = arch.number(names[name]);
            at += 1;
            name += 1;
        }
        group += 1;
    }
    numbers
}

impl When {
    fn holds(self, capabilities: &[Capability]) -> bool {
        match self {
            Self::Always => true,
            Self::With(capability) => capabilities.contains(&capability),
            Self::Without(capability) => !capabilities.contains(&capability),
        }
    }
}

const fn first(operator: Operator) -> Condition {
    Condition { argument: 0, operator }
}

const fn allow(reason: &'static str, names: &'static [&'static str]) -> Group {
    Group { reason, when: When::Always, action: Action::Allow, conditions: &[], names }
}

const fn allow_with(
    capability: Capability,
    reason: &'static str,
    names: &'static [&'static str],
) -> Group {
    Group { reason, when: When::With(capability), action: Action::Allow, conditions: &[], names }
}

/// Flags of `clone` that make a namespace: mount, cgroup, UTS, IPC, user, PID, network.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// `PER_LINUX`, `PER_LINUX32`, `UNAME26`, both, and the value that only asks.
const PERSONALITIES: &[Condition] = &[
    first(Operator::Equal(0)),
    first(Operator::Equal(0x8)),
    first(Operator::Equal(0x2_0000)),
    first(Operator::Equal(0x2_0008)),
    first(Operator::Equal(0xffff_ffff)),
];

/// All families but `AF_ALG` (38) and `AF_VSOCK` (40).
const SOCKET_FAMILIES: &[Condition] =
    &[first(Operator::Less(38)), first(Operator::Equal(39)), first(Operator::Greater(40))];

/// The profile. A call may be in several groups; a group that allows it whatever its arguments
/// wins over one with conditions.
#[rustfmt::skip]
pub(super) const PROFILE: &[Group] = &[
    allow("Names, modes and owners of files: the mount namespace and the file's own mode decide.", &[
        "access", "chdir", "chmod", "chown", "creat", "faccessat", "faccessat2", "fchdir", "fchmod",
        "fchmodat", "fchmodat2", "fchown", "fchownat", "futimesat", "getcwd", "lchown", "link",
        "linkat", "mkdir", "mkdirat", "open", "openat", "openat2", "readlink", "readlinkat",
        "rename", "renameat", "renameat2", "rmdir", "symlink", "symlinkat", "truncate", "umask",
        "unlink", "unlinkat", "utime", "utimensat", "utimes",
    ]),
    allow("Device nodes need CAP_MKNOD and then still the device rules of the cgroup; pipes and \
           sockets need nothing.", &["mknod", "mknodat"]),
    allow("What a file is, and its extended attributes: trusted ones need CAP_SYS_ADMIN.", &[
        "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "getdents",
        "getdents64", "getxattr", "getxattrat", "lgetxattr", "listxattr", "listxattrat",
        "llistxattr", "lremovexattr", "lsetxattr", "lstat", "newfstatat", "removexattr",
        "removexattrat", "setxattr", "setxattrat", "stat", "statfs", "statx",
    ]),
    allow("A file handle is only a name; to open one takes CAP_DAC_READ_SEARCH.",
        &["name_to_handle_at"]),
    allow("What is mounted in its own mount namespace; to see another takes CAP_SYS_ADMIN.",
        &["listmount", "statmount"]),
    allow("Bytes of open files.", &[
        "cachestat", "close", "close_range", "copy_file_range", "dup", "dup2", "dup3", "fadvise64",
        "fallocate", "fcntl", "fdatasync", "flock", "fsync", "ftruncate", "ioctl", "lseek",
        "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead",
        "readv", "sendfile", "splice", "sync", "sync_file_range", "syncfs", "tee", "vmsplice",
        "write", "writev",
    ]),
    allow("Asynchronous input and output of the old kind, bounded by fs.aio-max-nr.", &[
        "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit",
    ]),
    allow("Waiting for descriptors, and descriptors to wait for.", &[
        "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait",
        "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "poll", "ppoll",
        "pselect6", "select", "signalfd", "signalfd4",
    ]),
    allow("Watching files the process may read. To create a fanotify group takes CAP_SYS_ADMIN.", &[
        "fanotify_mark", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch",
    ]),
    allow("Its own address space.", &[
        "brk", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret",
        "mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap", "mseal", "msync",
        "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect",
        "process_mrelease", "remap_file_pages",
    ]),
    allow("Starting, replacing, ending and awaiting processes. New namespaces are judged at clone.", &[
        "execve", "execveat", "exit", "exit_group", "fork", "vfork", "wait4", "waitid",
    ]),
    allow("Which processes there are, their groups and sessions: the PID namespace bounds them.", &[
        "getpgid", "getpgrp", "getpid", "getppid", "getsid", "gettid", "pidfd_open", "setpgid",
        "setsid", "set_tid_address",
    ]),
    allow("Limits, priorities and scheduling: raising them needs CAP_SYS_RESOURCE or CAP_SYS_NICE.", &[
        "getcpu", "getpriority", "getrlimit", "getrusage", "ioprio_get", "ioprio_set", "prlimit64",
        "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_get_priority_max",
        "sched_get_priority_min", "sched_getscheduler", "sched_rr_get_interval",
        "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
        "sched_yield", "setpriority", "setrlimit", "times",
    ]),
    allow("The machine's name and load, which are not secret.", &["sysinfo", "uname"]),
    allow("Signals.", &[
        "kill", "pause", "pidfd_send_signal", "restart_syscall", "rt_sigaction", "rt_sigpending",
        "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
        "rt_tgsigqueueinfo", "sigaltstack", "tgkill", "tkill",
    ]),
    allow("Threads and their locks.", &[
        "futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "get_robust_list",
        "get_thread_area", "rseq", "set_robust_list", "set_thread_area",
    ]),
    allow("Reading clocks, sleeping and timers. Adjusting a clock needs CAP_SYS_TIME; without it \
           these only report.", &[
        "adjtimex", "alarm", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep",
        "getitimer", "gettimeofday", "nanosleep", "setitimer", "time", "timer_create",
        "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create",
        "timerfd_gettime", "timerfd_settime",
    ]),
    allow("Ids and capabilities: the kernel lets a process only lower them, or change them as its \
           capabilities and its user namespace allow.", &[
        "capget", "capset", "getegid", "geteuid", "getgid", "getgroups", "getresgid", "getresuid",
        "getuid", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid",
        "setresuid", "setreuid", "setuid",
    ]),
    allow("A process restricting itself further, and settings of its own.", &[
        "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "prctl",
        "seccomp",
    ]),
    allow("Random numbers.", &["getrandom"]),
    allow("Sockets once they exist: the network namespace bounds what they reach.", &[
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt",
        "listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt",
        "shutdown", "socketpair",
    ]),
    Group {
        reason: "AF_VSOCK reaches the hypervisor past the network namespace; AF_ALG is a large \
                 kernel surface.",
        when: When::Always,
        action: Action::Allow,
        conditions: SOCKET_FAMILIES,
        names: &["socket"],
    },
    allow("Pipes, and messages, semaphores and shared memory within the IPC namespace.", &[
        "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
        "msgctl", "msgget", "msgrcv", "msgsnd", "pipe", "pipe2", "semctl", "semget", "semop",
        "semtimedop", "shmat", "shmctl", "shmdt", "shmget",
    ]),
    allow("Processor state of the thread itself: thread pointers, segments for 16-bit code of Wine.",
        &["arch_prctl", "modify_ldt"]),
    allow("The return of a user-space probe, set by a tracer outside; to fail it kills the program.",
        &["uretprobe"]),
    allow("Debuggers and sanitizers. Since Linux 4.8 a tracer cannot change a call after the \
           filter has judged it, and the PID and user namespaces bound whom it may trace.", &[
        "process_vm_readv", "process_vm_writev", "ptrace",
    ]),
    Group {
        reason: "Plain Linux, 32-bit words and old version numbers; other personalities switch off \
                 address randomisation or map page zero.",
        when: When::Always,
        action: Action::Allow,
        conditions: PERSONALITIES,
        names: &["personality"],
    },
    Group {
        reason: "Threads and processes, but no new namespaces: those open kernel surface that is \
                 otherwise reserved for the administrator.",
        when: When::Without(Capability::SYS_ADMIN),
        action: Action::Allow,
        conditions: &[first(Operator::MaskedEqual { mask: NAMESPACE_FLAGS, value: 0 })],
        names: &["clone"],
    },
    Group {
        reason: "Its flags are in memory, where a filter cannot read them. C libraries fall back \
                 to clone on ENOSYS.",
        when: When::Without(Capability::SYS_ADMIN),
        action: Action::Errno(ENOSYS),
        conditions: &[],
        names: &["clone3"],
    },
    allow_with(Capability::SYS_ADMIN, "The administrator of the namespaces: mounts, namespaces, \
               quotas, tracing. The kernel asks for the capability again.", &[
        "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick",
        "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount",
        "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd",
        "setdomainname", "sethostname", "setns", "syslog", "umount2", "unshare",
    ]),
    allow_with(Capability::DAC_READ_SEARCH, "Opens files by handle, past every directory's mode.",
        &["open_by_handle_at"]),
    allow_with(Capability::SYS_BOOT, "Restarts, or ends the PID namespace.", &["reboot"]),
    allow_with(Capability::SYS_CHROOT, "A new root below the present one.", &["chroot"]),
    allow_with(Capability::SYS_MODULE, "Code into the kernel.",
        &["delete_module", "finit_module", "init_module"]),
    allow_with(Capability::SYS_PACCT, "Process accounting of the machine.", &["acct"]),
    allow_with(Capability::SYS_PTRACE, "Reads and writes other processes.", &[
        "kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace",
    ]),
    allow_with(Capability::SYS_RAWIO, "Ports of the processor.", &["ioperm", "iopl"]),
    allow_with(Capability::SYS_TIME, "The machine's clocks.", &["clock_settime", "settimeofday"]),
    allow_with(Capability::SYS_TTY_CONFIG, "Hangs up a terminal.", &["vhangup"]),
    allow_with(Capability::SYS_NICE, "Where memory lies on machines with several nodes.", &[
        "get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node",
    ]),
    allow_with(Capability::SYSLOG, "The kernel's log.", &["syslog"]),
    allow_with(Capability::BPF, "Programs for the kernel's own machine.", &["bpf"]),
    allow_with(Capability::PERFMON, "Performance counters.", &["perf_event_open"]),
];
