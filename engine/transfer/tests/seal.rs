//! What a sealed transfer can still do, tried by processes that seal themselves as it does. Each
//! attempt runs in a process of its own: `seal <attempt> <directory>`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test without a harness says")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use hull_sys::jail::{Jail, Purpose};
use rustix::net::{AddressFamily, SocketType};

/// Exit codes of an attempt.
const DONE: u8 = 10;
const REFUSED: u8 = 11;
/// Of a panic, from Rust's runtime.
const PANICKED: i32 = 101;

type Attempt = fn(&Inside) -> std::io::Result<()>;

/// What an attempt can use: held from before, and paths.
struct Inside {
    file: File,
    outside: String,
    /// Of a server on loopback that greets.
    port: u16,
    parent: rustix::process::Pid,
}

/// Name, attempt, whether it works.
const ATTEMPTS: &[(&str, Attempt, bool)] = &[
    ("write what is open", |inside| (&inside.file).write_all(b"x"), true),
    ("connect to a host", connect, true),
    ("send a datagram", datagram, true),
    ("start a thread", |_| thread(), true),
    ("open by path", |_| File::open("/etc/passwd").map(drop), false),
    ("open /proc", |_| File::open("/proc/self/status").map(drop), false),
    ("open what others may read", |inside| File::open(&inside.outside).map(drop), false),
    ("create", |inside| File::create(format!("{}.new", inside.outside)).map(drop), false),
    ("remove", |inside| std::fs::remove_file(&inside.outside), false),
    ("look", |inside| std::fs::metadata(&inside.outside).map(drop), false),
    ("read memory of another", read_memory, false),
    ("connect by path", |inside| UnixStream::connect(&inside.outside).map(drop), false),
    ("make a socket pair", |_| UnixStream::pair().map(drop), false),
    ("make a datagram socket", |_| UnixDatagram::unbound().map(drop), false),
    ("listen", |_| TcpListener::bind("127.0.0.1:0").map(drop), false),
    ("bind", |_| UdpSocket::bind("127.0.0.1:0").map(drop), false),
    ("send raw packets", |_| raw(), false),
    ("speak to the kernel", |_| netlink(), false),
    ("execute", |_| execute("/bin/true"), false),
    ("execute itself", |_| execute("/proc/self/exe"), false),
    ("signal the parent", signal_parent, false),
    ("make a pipe", |_| Ok(rustix::pipe::pipe().map(drop)?), false),
    ("make a memory file", |_| memory_file(), false),
    ("mount", |_| mount(), false),
    ("change root", |_| Ok(rustix::process::chroot("/")?), false),
    ("make a namespace", |_| namespace(), false),
    ("become root", |_| become_root(), false),
    ("be debugged", |_| be_dumpable(), false),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, attempt, directory] if Path::new(directory).is_dir() => {
            inside(attempt, Path::new(directory))
        }
        _ => outside(),
    }
}

/// Runs every attempt and compares.
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
    for (name, _, works) in ATTEMPTS {
        let output = attempt(name);
        let expected = if *works { DONE } else { REFUSED };
        check(name, output.status.code() == Some(i32::from(expected)), &output);
    }
    let output = attempt("panic");
    let said = String::from_utf8_lossy(&output.stderr);
    // The hook of the panic tried to open and to execute, and was refused.
    let held = said.contains("sealed and panicking") && !said.contains("came out");
    check("panic", output.status.code() == Some(PANICKED) && held, &output);
    let output = attempt("abort");
    check("abort", output.status.signal() == Some(6), &output);
    println!("{} attempts, {wrong} with another end than expected", ATTEMPTS.len() + 2);
    ExitCode::from(u8::from(wrong > 0))
}

fn attempt(name: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let outside = directory.path().join("outside");
    std::fs::write(&outside, "x").expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::fs::write(directory.path().join("port"), port.to_string()).expect("a file");
    let greeter = std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            // Whoever only comes to end this does not listen.
            let _ = stream.write_all(b"hello");
        }
    });
    let output = Command::new(std::env::current_exe().expect("this program"))
        .arg(name)
        .arg(directory.path())
        .output()
        .expect("an attempt");
    drop(TcpStream::connect(("127.0.0.1", port)));
    greeter.join().expect("it greets");
    assert!(outside.exists(), "{name}: nothing was removed");
    assert!(!directory.path().join("outside.new").exists(), "{name}: nothing was made");
    output
}

fn inside(name: &str, directory: &Path) -> ExitCode {
    let file = tempfile::tempfile_in(directory).expect("a file");
    let outside = directory.join("outside").to_string_lossy().into_owned();
    let port = std::fs::read_to_string(directory.join("port")).expect("a port");
    let parent = rustix::process::getppid().expect("a parent");
    if name == "panic" {
        std::panic::set_hook(Box::new(|panic| {
            if File::open("/etc/passwd").is_ok() || execute("/bin/true").is_ok() {
                eprintln!("came out");
            }
            eprintln!("{panic}");
        }));
    }
    Jail::new(Purpose::Network).enter().expect("the seal holds");
    let inside = Inside { file, outside, port: port.parse().expect("a port"), parent };
    match name {
        "panic" => panic!("sealed and panicking"),
        "abort" => std::process::abort(),
        _ => {}
    }
    let (_, attempt, _) = ATTEMPTS.iter().find(|(known, ..)| *known == name).expect("known");
    match attempt(&inside) {
        Ok(()) => ExitCode::from(DONE),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(REFUSED)
        }
    }
}

fn connect(inside: &Inside) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", inside.port))?;
    stream.set_nodelay(true)?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting)?;
    assert_eq!(&greeting, b"hello");
    stream.shutdown(std::net::Shutdown::Both)
}

fn datagram(inside: &Inside) -> std::io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], inside.port));
    rustix::net::connect(&socket, &to)?;
    rustix::net::send(&socket, b"x", rustix::net::SendFlags::empty())?;
    Ok(())
}

fn thread() -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("sealed".to_owned());
    let opened = thread.spawn(|| File::open("/etc/passwd").is_ok())?.join();
    assert_eq!(opened.ok(), Some(false), "threads are sealed as well");
    Ok(())
}

fn raw() -> std::io::Result<()> {
    Ok(rustix::net::socket(AddressFamily::INET, SocketType::RAW, None).map(drop)?)
}

fn netlink() -> std::io::Result<()> {
    Ok(rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None).map(drop)?)
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

fn mount() -> std::io::Result<()> {
    Ok(rustix::mount::mount("none", "/", "tmpfs", rustix::mount::MountFlags::empty(), None)?)
}

#[expect(deprecated, reason = "what makes it unsafe, sharing less between threads, is refused")]
fn namespace() -> std::io::Result<()> {
    Ok(rustix::thread::unshare(rustix::thread::UnshareFlags::NEWUSER)?)
}

fn become_root() -> std::io::Result<()> {
    let root = rustix::process::Uid::ROOT;
    Ok(rustix::thread::set_thread_res_uid(root, root, root)?)
}

fn be_dumpable() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}
