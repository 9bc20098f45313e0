//! What the probe can be asked to do.

use std::io::{Read, Write};
use std::time::Duration;

use crate::view::View;

type Outcome = Result<u8, String>;

/// Runs the mode named by the first argument; the name the program was started by does not count.
///
/// ```text
/// view                 print the view as JSON
/// true                 end with 0
/// exit N               end with N
/// sleep [SECONDS]      wait, by default for ever
/// echo WORD...         print the words
/// cat                  copy stdin to stdout
/// spin-output N        print N numbered lines of 64 bytes
/// both WORD            print the word to stdout and to stderr
/// size                 print columns and rows of the terminal
/// read PATH            print a file
/// write PATH TEXT      write a file
/// allocate MIB         touch that much memory, then end with 0
/// processes N          start N children that sleep, print how many were started
/// ```
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["view"] => view(),
        ["true"] => Ok(0),
        ["exit", code] => Ok(number(code)?),
        ["sleep"] => sleep(u64::MAX),
        ["sleep", seconds] => sleep(number(seconds)?),
        ["echo", ref rest @ ..] => print(&format!("{}\n", rest.join(" "))),
        ["cat"] => cat(),
        ["spin-output", lines] => spin_output(number(lines)?),
        ["both", word] => both(word),
        ["size"] => size(),
        ["read", path] => {
            print(&std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?)
        }
        ["write", path, text] => {
            std::fs::write(path, text).map_err(|e| format!("{path}: {e}"))?;
            Ok(0)
        }
        ["allocate", mebibytes] => allocate(number(mebibytes)?),
        ["processes", count] => processes(number(count)?),
        _ => Err(format!("unknown mode: {}", words.join(" "))),
    }
}

fn view() -> Outcome {
    let view = View::take();
    let text = serde_json::to_string_pretty(&view).map_err(|e| e.to_string())?;
    print(&format!("{text}\n"))
}

fn sleep(seconds: u64) -> Outcome {
    std::thread::sleep(Duration::from_secs(seconds));
    Ok(0)
}

fn print(text: &str) -> Outcome {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| format!("stdout: {e}"))?;
    Ok(0)
}

fn cat() -> Outcome {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = std::io::stdin().read(&mut buffer).map_err(|e| format!("stdin: {e}"))?;
        if length == 0 {
            return Ok(0);
        }
        let mut stdout = std::io::stdout();
        stdout.write_all(&buffer[..length]).map_err(|e| format!("stdout: {e}"))?;
        stdout.flush().map_err(|e| format!("stdout: {e}"))?;
    }
}

fn spin_output(lines: u64) -> Outcome {
    let mut stdout = std::io::BufWriter::new(std::io::stdout());
    for line in 0..lines {
        writeln!(stdout, "{line:063}").map_err(|e| format!("stdout: {e}"))?;
    }
    stdout.flush().map_err(|e| format!("stdout: {e}"))?;
    Ok(0)
}

fn both(word: &str) -> Outcome {
    print(&format!("{word} out\n"))?;
    std::io::stderr()
        .write_all(format!("{word} err\n").as_bytes())
        .map_err(|e| format!("stderr: {e}"))?;
    Ok(0)
}

fn size() -> Outcome {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin())
        .map_err(|e| format!("stdin is not a terminal: {e}"))?;
    print(&format!("{} {}\n", size.ws_col, size.ws_row))
}

fn allocate(mebibytes: usize) -> Outcome {
    let mut blocks = Vec::new();
    for value in 0..mebibytes {
        blocks.push(vec![u8::try_from(value % 255).unwrap_or_default() + 1; 1 << 20]);
    }
    print(&format!("{} MiB\n", std::hint::black_box(blocks).len()))
}

fn processes(count: usize) -> Outcome {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut children = Vec::new();
    for _ in 0..count {
        match std::process::Command::new(&program).args(["sleep", "60"]).spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    let started = children.len();
    for child in &mut children {
        child.kill().map_err(|e| format!("kill: {e}"))?;
        child.wait().map_err(|e| format!("wait: {e}"))?;
    }
    print(&format!("{started}\n"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number this mode takes"))
}
