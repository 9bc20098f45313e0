//! What a sealed process can still do, tried by processes that seal themselves as the worker
//! does. Each attempt runs in a process of its own: `seal <purpose> <attempt> <directory>`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test without a harness says")]

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use hull_sys::jail::{CapabilitySet, Jail, Purpose, confined};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Exit codes of an attempt.
const DONE: u8 = 10;
const REFUSED: u8 = 11;
/// Of a panic, from Rust's runtime.
const PANICKED: i32 = 101;

type Attempt = fn(&Inside) -> std::io::Result<()>;

/// What an attempt can use: descriptors held from before, and paths.
struct Inside {
    /// Of the directory that may be written, in [`Purpose::Trees`].
    directory: OwnedFd,
    file: File,
    outside: String,
    parent: rustix::process::Pid,
}

/// Name, attempt, whether it works as a stream worker, whether as one that makes trees.
const ATTEMPTS: &[(&str, Attempt, bool, bool)] = &[
    ("write what is open", |inside| (&inside.file).write_all(b"x"), true, true),
    ("start a thread", |_| thread(), true, true),
    ("allocate", |_| allocate(), true, true),
    ("hash", |_| hash(), true, true),
    ("open by path", |_| File::open("/etc/passwd").map(drop), false, false),
    ("open /proc", |_| File::open("/proc/self/status").map(drop), false, false),
    ("open the host by its own path", |inside| File::open(&inside.outside).map(drop), false, false),
    ("create below", |inside| create(inside, "below"), false, true),
    // `..` ends in the directory itself; `outside` looks whether anything was made above it.
    ("create above", |inside| create(inside, "../above"), false, true),
    ("create far above", |inside| create(inside, "../../../../../../tmp/above"), false, false),
    ("make a directory", |inside| make(inside, "new"), false, true),
    ("make a directory above", |inside| make(inside, "../above"), false, true),
    ("make a device", device, false, true),
    ("change a mode above", |inside| mode(inside, "../outside"), false, false),
    ("change a mode by path", |inside| mode(inside, &inside.outside), false, false),
    ("change an owner above", |inside| owner(inside, "../outside"), false, false),
    ("look above", |inside| look(inside, "../outside"), false, false),
    ("link from above", link, false, false),
    ("follow a symlink out", |inside| follow(inside, "link"), false, false),
    ("read memory of another", read_memory, false, false),
    ("connect by path", |inside| UnixStream::connect(&inside.outside).map(drop), false, false),
    ("make a socket pair", |_| UnixStream::pair().map(drop), false, false),
    ("make a datagram socket", |_| UnixDatagram::unbound().map(drop), false, false),
    ("listen", |_| TcpListener::bind("127.0.0.1:0").map(drop), false, false),
    ("bind", |_| UdpSocket::bind("127.0.0.1:0").map(drop), false, false),
    ("execute", |_| execute("/bin/true"), false, false),
    ("execute itself", |_| execute("/proc/self/exe"), false, false),
    ("signal the parent", signal_parent, false, false),
    ("make a pipe", |_| Ok(rustix::pipe::pipe().map(drop)?), false, false),
    ("make a memory file", |_| memory_file(), false, false),
    ("mount", mount, false, false),
    ("clone a mount", clone_mount, false, false),
    ("change root", |_| Ok(rustix::process::chroot("/")?), false, false),
    ("make a namespace", |_| namespace(), false, false),
    ("become root", |_| become_root(), false, false),
    ("raise a limit", |_| raise_limit(), false, false),
    ("be debugged", |_| be_dumpable(), false, false),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, purpose @ ("streams" | "trees"), attempt, directory] => {
            inside(purpose, attempt, Path::new(directory))
        }
        _ => outside(),
    }
}

/// Runs every attempt for every purpose and compares.
fn outside() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the seal is tried as root");
        return ExitCode::SUCCESS;
    }
    let mut wrong = 0;
    let mut check = |what: &str, right: bool, output: &Output| {
        if !right {
            wrong += 1;
            println!("{what}: {:?} {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
    };
    for (name, _, streams, trees) in ATTEMPTS {
        for (purpose, works) in [("streams", streams), ("trees", trees)] {
            let output = attempt(purpose, name);
            let expected = if *works { DONE } else { REFUSED };
            let right = output.status.code() == Some(i32::from(expected));
            check(&format!("{purpose}: {name}"), right, &output);
        }
    }
    for purpose in ["streams", "trees"] {
        let output = attempt(purpose, "panic");
        let said = String::from_utf8_lossy(&output.stderr).contains("sealed and panicking");
        // The hook of the panic tried to open and to execute, and was refused.
        let held = !String::from_utf8_lossy(&output.stderr).contains("came out");
        check(purpose, output.status.code() == Some(PANICKED) && said && held, &output);
        let output = attempt(purpose, "abort");
        check(purpose, output.status.signal() == Some(6), &output);
    }
    println!("{} attempts, {wrong} with another end than expected", ATTEMPTS.len() * 2 + 4);
    ExitCode::from(u8::from(wrong > 0))
}

fn attempt(purpose: &str, name: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("tree")).expect("a directory");
    std::fs::write(directory.path().join("outside"), "x").expect("a file");
    let link = directory.path().join("tree/link");
    std::os::unix::fs::symlink(directory.path().join("outside"), link).expect("a symlink");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([purpose, name])
        .arg(directory.path())
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("this program runs");
    let outside = directory.path().join("outside");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(outside).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o7777 & !0o22, 0o644, "{name}");
    assert!(!directory.path().join("above").exists(), "{name}");
    output
}

/// Seals this process and makes one attempt.
fn inside(purpose: &str, name: &str, directory: &Path) -> ExitCode {
    let file = File::create(directory.join("open")).expect("a file");
    let tree = OwnedFd::from(File::open(directory.join("tree")).expect("a directory"));
    let tree = if purpose == "trees" { confined(&tree).expect("a view") } else { tree };
    let outside = directory.join("outside").to_string_lossy().into_owned();
    let parent = rustix::process::getppid().expect("a parent");
    let jail = match purpose {
        "trees" => Jail::new(Purpose::Trees)
            .capabilities(
                CapabilitySet::CHOWN
                    | CapabilitySet::FOWNER
                    | CapabilitySet::DAC_OVERRIDE
                    | CapabilitySet::MKNOD
                    | CapabilitySet::SYS_ADMIN,
            )
            .writable(tree.as_fd()),
        _ => Jail::new(Purpose::Streams),
    };
    if name == "panic" {
        std::panic::set_hook(Box::new(|panic| {
            if File::open("/etc/passwd").is_ok() || execute("/bin/true").is_ok() {
                eprintln!("came out");
            }
            eprintln!("{panic}");
        }));
    }
    jail.enter().expect("the seal holds");
    let inside = Inside { directory: tree, file, outside, parent };
    match name {
        "panic" => panic!("sealed and panicking"),
        "abort" => std::process::abort(),
        _ => {}
    }
    let (_, attempt, ..) = ATTEMPTS.iter().find(|(known, ..)| *known == name).expect("known");
    match attempt(&inside) {
        Ok(()) => ExitCode::from(DONE),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(REFUSED)
        }
    }
}

fn thread() -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("sealed".to_owned());
    let opened = thread.spawn(|| File::open("/etc/passwd").is_ok())?.join();
    assert_eq!(opened.ok(), Some(false), "threads are sealed as well");
    Ok(())
}

fn allocate() -> std::io::Result<()> {
    let mut pieces = Vec::new();
    for size in 1..2000usize {
        pieces.push(vec![1u8; size * 100]);
    }
    pieces.retain(|piece| piece.len() % 300 == 0);
    let mut grown = Vec::new();
    grown.resize(64 << 20, 1u8);
    // Past the limit this is an error, not a process that takes the machine with it.
    if grown.try_reserve(8 << 30).is_ok() {
        return Err(std::io::ErrorKind::OutOfMemory.into());
    }
    Ok(())
}

fn hash() -> std::io::Result<()> {
    let map: std::collections::HashMap<u32, u32> = (0..100).map(|number| (number, 1)).collect();
    assert_eq!(map.len(), 100);
    Ok(())
}

fn create(inside: &Inside, name: &str) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    rustix::fs::openat(&inside.directory, name, flags, Mode::RWXU)?;
    Ok(())
}

fn make(inside: &Inside, name: &str) -> std::io::Result<()> {
    Ok(rustix::fs::mkdirat(&inside.directory, name, Mode::RWXU)?)
}

fn device(inside: &Inside) -> std::io::Result<()> {
    let number = rustix::fs::makedev(1, 3);
    let kind = FileType::CharacterDevice;
    rustix::fs::mknodat(&inside.directory, "null", kind, Mode::RWXU, number)?;
    let opened = File::open("/null")?;
    assert!(opened.metadata()?.file_type().is_char_device());
    Ok(())
}

fn mode(inside: &Inside, path: &str) -> std::io::Result<()> {
    Ok(rustix::fs::chmodat(&inside.directory, path, Mode::from_raw_mode(0o4777), AtFlags::empty())?)
}

fn owner(inside: &Inside, path: &str) -> std::io::Result<()> {
    let uid = Some(rustix::fs::Uid::from_raw(1000));
    Ok(rustix::fs::chownat(&inside.directory, path, uid, None, AtFlags::empty())?)
}

fn look(inside: &Inside, path: &str) -> std::io::Result<()> {
    rustix::fs::statat(&inside.directory, path, AtFlags::empty())?;
    Ok(())
}

fn link(inside: &Inside) -> std::io::Result<()> {
    let directory = &inside.directory;
    Ok(rustix::fs::linkat(directory, "../outside", directory, "in", AtFlags::empty())?)
}

fn follow(inside: &Inside, name: &str) -> std::io::Result<()> {
    rustix::fs::openat(&inside.directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(())
}

fn read_memory(inside: &Inside) -> std::io::Result<()> {
    File::open(format!("/proc/{}/mem", inside.parent.as_raw_nonzero())).map(drop)
}

fn execute(program: &str) -> std::io::Result<()> {
    Command::new(program).spawn().map(drop)
}

fn signal_parent(inside: &Inside) -> std::io::Result<()> {
    Ok(rustix::process::kill_process(inside.parent, rustix::process::Signal::CONT)?)
}

fn memory_file() -> std::io::Result<()> {
    rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(())
}

fn mount(_: &Inside) -> std::io::Result<()> {
    Ok(rustix::mount::mount("none", "/", "tmpfs", rustix::mount::MountFlags::empty(), None)?)
}

fn clone_mount(inside: &Inside) -> std::io::Result<()> {
    let flags = rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE;
    rustix::mount::open_tree(&inside.directory, ".", flags)?;
    Ok(())
}

#[expect(deprecated, reason = "what makes it unsafe, sharing less between threads, is refused")]
fn namespace() -> std::io::Result<()> {
    Ok(rustix::thread::unshare(rustix::thread::UnshareFlags::NEWUSER)?)
}

fn become_root() -> std::io::Result<()> {
    let root = rustix::process::Uid::ROOT;
    Ok(rustix::thread::set_thread_res_uid(root, root, root)?)
}

fn raise_limit() -> std::io::Result<()> {
    let limit = rustix::process::Rlimit { current: None, maximum: None };
    Ok(rustix::process::setrlimit(rustix::process::Resource::As, limit)?)
}

fn be_dumpable() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}
