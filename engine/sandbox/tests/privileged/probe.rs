//! The program that runs inside. Its first word says what to do or to tell.

use std::path::Path;
use std::process::ExitCode;

pub(crate) fn run(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        ["true"] => {}
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap()),
        ["cat", ref paths @ ..] => {
            for path in paths {
                match std::fs::read_to_string(path) {
                    Ok(text) => print!("{text}"),
                    Err(error) => println!("{path}: {error}"),
                }
            }
        }
        ["write", path, text] => report(std::fs::write(path, text)),
        ["mknod", path] => report(rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::RUSR,
            rustix::fs::makedev(1, 3),
        )),
        ["ls", path] => list(Path::new(path)),
        ["stat", ref paths @ ..] => paths.iter().for_each(|path| stat(path)),
        ["fds"] => descriptors(),
        ["tty"] => terminal(),
        ["pid"] => println!("{}", std::process::id()),
        ["env"] => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["cwd"] => println!("{}", std::env::current_dir().unwrap().display()),
        ["hostname"] => println!("{}", rustix::system::uname().nodename().to_str().unwrap()),
        ["sleep"] => std::thread::sleep(std::time::Duration::from_secs(60)),
        ["listen", port] => {
            report(std::net::TcpListener::bind(format!("127.0.0.1:{port}")).map(drop))
        }
        ["interrupted"] => {
            println!("ready");
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        ["namespaces"] => namespaces(),
        ["watch"] => watch(),
        ["nap"] => std::thread::sleep(std::time::Duration::from_millis(50)),
        ["orphan"] => orphan(),
        ["leave"] => leave(),
        ["raise", signal] => {
            let signal = rustix::process::Signal::from_named_raw(signal.parse().unwrap()).unwrap();
            rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
        }
        _ => {
            eprintln!("unknown words {words:?}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn report<E: std::fmt::Display>(result: Result<(), E>) {
    match result {
        Ok(()) => println!("done"),
        Err(error) => println!("{error}"),
    }
}

fn list(path: &Path) {
    match std::fs::read_dir(path) {
        Ok(entries) => {
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            println!("{}", names.join(" "));
        }
        Err(error) => println!("{error}"),
    }
}

fn stat(path: &str) {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(path) {
        Ok(status) => println!(
            "{path} {:o} {}:{} device {}:{} size {}",
            status.mode(),
            status.uid(),
            status.gid(),
            rustix::fs::major(status.rdev()),
            rustix::fs::minor(status.rdev()),
            status.len()
        ),
        Err(error) => println!("{path} {error}"),
    }
}

fn descriptors() {
    for number in 0..1024 {
        if let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{number}")) {
            println!("{number} {}", target.display());
        }
    }
}

fn terminal() {
    let stdin = std::io::stdin();
    let size = rustix::termios::tcgetwinsize(&stdin).unwrap();
    let name = rustix::termios::ttyname(&stdin, Vec::new()).unwrap();
    let controlling = std::fs::File::open("/dev/tty").is_ok();
    println!(
        "{} {}x{} controlling {controlling}",
        name.to_str().unwrap(),
        size.ws_col,
        size.ws_row
    );
    stat("/dev/console");
}

/// Leaves a grandchild to process 1 and waits until that has reaped it.
fn orphan() {
    use std::process::{Command, Stdio};
    let middle = Command::new("/probe").arg("leave").stdout(Stdio::piped()).output().unwrap();
    let pid = String::from_utf8(middle.stdout).unwrap();
    let pid = format!("/proc/{}", pid.trim());
    for _ in 0..500 {
        if !Path::new(&pid).exists() {
            println!("reaped");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    println!("{pid} is left");
}

/// Starts a process and ends before it does.
#[expect(clippy::zombie_processes, reason = "process 1 is to wait for it")]
fn leave() {
    use std::process::{Command, Stdio};
    let child = Command::new("/probe").arg("nap").stdout(Stdio::null()).spawn().unwrap();
    println!("{}", child.id());
}

fn namespaces() {
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        println!("{}", std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display());
    }
}

/// Tries to look into every process but itself, for as long as it lives.
fn watch() -> ! {
    println!("watching");
    loop {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name == "1" || name.parse::<u32>().is_err() {
                continue;
            }
            // The program that was executed is the container's own, which may be looked into. One
            // that has exited, and may have been it, has no program; what is hidden is refused.
            let allowed = || match std::fs::read_link(entry.path().join("exe")) {
                Ok(exe) => exe == Path::new("/probe"),
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            };
            let was_allowed = allowed();
            // The numbers may be listed by the host's root; what they refer to may not be read.
            let linked = std::fs::read_dir(entry.path().join("fd"))
                .is_ok_and(|list| list.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok()));
            // A process that has exited shows an empty list to everyone.
            let environment = std::fs::read(entry.path().join("environ"));
            let opened = linked || environment.is_ok_and(|text| !text.is_empty());
            if opened && !was_allowed && !allowed() {
                println!("opened {name}");
            }
        }
    }
}
