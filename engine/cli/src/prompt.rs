//! Questions to the one at the terminal.

use std::io::{self, Write as _};

use anyhow::{Result, bail};

use crate::signals::Signals;
use crate::stdio::Input;
use crate::terminal::NoEcho;

/// The longest answer that is taken, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Asks for a line.
///
/// # Errors
/// A signal, or an end of the input before the end of the line.
pub(crate) async fn line(question: &str, signals: &Signals) -> Result<String> {
    ask(question)?;
    let answer = signals.unless(read(&mut Input::open())).await?;
    Ok(answer.trim().to_owned())
}

/// Asks for a line that is not shown while it is typed.
///
/// # Errors
/// The same.
pub(crate) async fn secret(question: &str, signals: &Signals) -> Result<String> {
    // Before the question is seen: an answer may come at once.
    let hidden = NoEcho::enter();
    ask(question)?;
    let answer = signals.unless(read(&mut Input::open())).await;
    drop(hidden);
    // The end of the line was not shown either.
    crate::out::line("");
    answer
}

fn ask(question: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(question.as_bytes())?;
    stdout.flush()
}

async fn read(input: &mut Input) -> Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 512];
    while !bytes.contains(&b'\n') {
        let count = input.read(&mut buffer).await?;
        if count == 0 {
            bail!("the input has ended before an answer");
        }
        bytes.extend_from_slice(&buffer[..count]);
        if bytes.len() > MAX_ANSWER {
            bail!("the answer is longer than {} KiB", MAX_ANSWER >> 10);
        }
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text =
        String::from_utf8(line.to_vec()).map_err(|_| anyhow::anyhow!("the answer is not text"))?;
    Ok(text.trim_end_matches('\r').to_owned())
}

/// All of standard input as one answer, without the end of its last line.
///
/// # Errors
/// What cannot be read, is too long, or no text.
pub(crate) fn all_of_stdin() -> Result<String> {
    let mut text = String::new();
    let limit = MAX_ANSWER as u64 + 1;
    io::Read::read_to_string(&mut io::Read::take(io::stdin().lock(), limit), &mut text)?;
    if text.len() > MAX_ANSWER {
        bail!("standard input holds more than {} KiB", MAX_ANSWER >> 10);
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
