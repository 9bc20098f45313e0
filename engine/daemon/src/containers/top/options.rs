//! What the words after `top` ask for, as ps(1) reads them.

use super::columns::Column;
use crate::error::ApiError;

/// The columns of a listing. Which processes are listed is not asked: the container's, all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) columns: Vec<Column>,
}

/// Columns of `ps -f`.
const FULL: &str = "uid_hack,pid,ppid,c,stime,tty,time,cmd";
/// Columns of `ps u`.
const USER: &str = "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,bsdtime,command";
/// Columns of `ps -l`.
const LONG: &str = "f,s,uid,pid,ppid,c,pri,ni,addr,sz,wchan,tty,time,comm_title";
/// Columns of `ps x`.
const BSD: &str = "pid,tty,stat,bsdtime,command";
/// Columns of `ps`.
const PLAIN: &str = "pid,tty,time,comm_title";

impl Listing {
    /// Reads `-ef`, `aux`, `-o pid,comm`, `-eo user=WHO,pid` and their like.
    ///
    /// # Errors
    /// What is no option of ours, or leaves the process ids out.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut columns = Vec::new();
        let mut preset = PLAIN;
        let mut words = text.split_ascii_whitespace();
        while let Some(word) = words.next() {
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                match name {
                    "format" => {
                        let list = value.or_else(|| words.next()).ok_or_else(|| missing(word))?;
                        columns.extend(Column::list(list)?);
                    }
                    // Nothing of this changes what we print.
                    "no-headers" | "forest" | "headers" | "cumulative" => {}
                    _ => return Err(unknown(word)),
                }
                continue;
            }
            let (bsd, letters) = match word.strip_prefix('-') {
                Some(letters) => (false, letters),
                None => (true, word),
            };
            for (at, letter) in letters.char_indices() {
                match letter {
                    'o' | 'O' => {
                        let rest = &letters[at + 1..];
                        let list = if rest.is_empty() { words.next() } else { Some(rest) };
                        columns.extend(Column::list(list.ok_or_else(|| missing(word))?)?);
                        break;
                    }
                    'f' if !bsd => preset = FULL,
                    'u' => preset = USER,
                    'l' => preset = LONG,
                    'x' | 'a' if preset == PLAIN && bsd => preset = BSD,
                    'e' | 'A' | 'a' | 'x' | 'd' | 'w' | 'f' | 'H' | 'y' | 'h' => {}
                    _ => return Err(unknown(word)),
                }
            }
        }
        if columns.is_empty() {
            columns = Column::list(preset)?;
        }
        if !columns.iter().any(Column::is_pid) {
            return Err(ApiError::invalid("Couldn't find PID field in ps output")
                .hint("add pid to the columns"));
        }
        Ok(Self { columns })
    }
}

fn missing(word: &str) -> ApiError {
    ApiError::invalid(format!("ps: a list of columns must follow {word:?}"))
}

fn unknown(word: &str) -> ApiError {
    ApiError::invalid(format!("ps: unsupported option {word:?}"))
        .hint("-ef, aux, -l and -o COLUMN,... are understood")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> String {
        match Listing::parse(text) {
            Ok(listing) => listing
                .columns
                .iter()
                .map(|column| column.title.as_str())
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.message,
        }
    }

    #[test]
    fn the_forms_of_ps() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        for form in ["-ef", "-e -f", "-f", "-Af"] {
            assert_eq!(titles(form), full, "{form}");
        }
        let user = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND";
        for form in ["aux", "-aux", "u", "auxww"] {
            assert_eq!(titles(form), user, "{form}");
        }
        assert_eq!(titles("ax"), "PID TTY STAT TIME COMMAND");
        assert_eq!(titles("-e"), "PID TTY TIME CMD");
        assert_eq!(titles("-o pid,comm"), "PID COMMAND");
        assert_eq!(titles("-eo pid,user=WHO,args"), "PID WHO COMMAND");
        assert_eq!(titles("-o pid -o rss"), "PID RSS");
        assert_eq!(titles("o pid,pcpu"), "PID %CPU");
        assert_eq!(titles("--format=pid,nlwp"), "PID NLWP");
        assert_eq!(titles("-o comm"), "Couldn't find PID field in ps output");
        assert_eq!(titles("-o pid,wings"), "ps: unknown column \"wings\"");
        assert_eq!(titles("-Z"), "ps: unsupported option \"-Z\"");
        assert_eq!(titles("-o"), "ps: a list of columns must follow \"-o\"");
    }
}
