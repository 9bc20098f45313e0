//! What the tests run in their containers; does what its arguments say.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap_or(99)),
        ["sleep"] => std::thread::sleep(Duration::from_secs(600)),
        ["say", out, err] => {
            print!("{out}");
            let _ = std::io::stdout().flush();
            let _ = std::io::stderr().write_all(err.as_bytes());
        }
        ["lines", count] => lines(count.parse().unwrap_or(0)),
        ["cat"] => cat(),
        ["size", count] => sizes(count.parse().unwrap_or(0)),
        ["background"] => {
            let program = std::env::current_exe().unwrap_or_default();
            let started = std::process::Command::new(program).arg("slow-lines").spawn();
            println!("{}", if started.is_ok() { "started" } else { "failed" });
        }
        ["slow-lines"] => loop {
            std::thread::sleep(Duration::from_millis(50));
            if writeln!(std::io::stdout(), "tick").is_err() {
                return ExitCode::FAILURE;
            }
        },
        ["allocate", mebibytes] => {
            let size = mebibytes.parse::<usize>().unwrap_or(1) << 20;
            println!("{}", std::hint::black_box(vec![1_u8; size]).len());
        }
        ["processes"] => println!("{}", processes()),
        ["write", path, text] => {
            if let Err(error) = std::fs::write(path, text) {
                println!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        }
        _ => {
            println!("what is {words:?}?");
            return ExitCode::from(98);
        }
    }
    ExitCode::SUCCESS
}

fn lines(count: u64) {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    for line in 0..count {
        let _ = writeln!(out, "{line:063}");
    }
}

/// Copies stdin to stdout, then says how much it was.
fn cat() {
    let (mut buffer, mut total) = (vec![0; 64 << 10], 0);
    while let Ok(length @ 1..) = std::io::stdin().read(&mut buffer) {
        total += length;
        let _ = std::io::stdout().write_all(&buffer[..length]);
        let _ = std::io::stdout().flush();
    }
    println!("{total} bytes");
}

/// Prints the terminal's size whenever it changes, `count` times.
fn sizes(count: u32) {
    let mut last = (0, 0);
    for _ in 0..count {
        let size = loop {
            let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin());
            let size = size.map(|size| (size.ws_col, size.ws_row)).unwrap_or((1, 1));
            if size != last {
                break size;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        last = size;
        println!("{} {}", size.0, size.1);
    }
}

fn processes() -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_process)).count()
}
