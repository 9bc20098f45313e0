//! Help, and complaints about a command line, in Docker's words and layout.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::app::Exit;
use crate::commands::Entry;

/// Columns a help text may take.
const WIDTH: usize = 80;

/// What `--help` prints.
pub(crate) fn help(entry: &Entry, command: &Command) -> String {
    let mut text = format!("Usage:  {}\n\n{}\n", line(entry, command), entry.about());
    let names: Vec<String> = entry.names().map(|name| format!("hull {name}")).collect();
    if names.len() > 1 {
        text.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let mut flags: Vec<&Arg> = command
        .get_arguments()
        .filter(|flag| !flag.is_positional() && !flag.is_hide_set() && flag.get_id() != "help")
        .collect();
    flags.sort_by_key(|flag| flag.get_long());
    if !flags.is_empty() {
        text.push_str("\nOptions:\n");
        text.push_str(&options(&flags));
    }
    text
}

fn options(flags: &[&Arg]) -> String {
    let names: Vec<String> = flags.iter().map(|flag| name(flag)).collect();
    let column = names.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut text = String::new();
    for (flag, name) in flags.iter().zip(&names) {
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("{name:column$}{}\n", wrap(&help, column)));
    }
    text
}

fn is_switch(flag: &Arg) -> bool {
    flag.get_num_args().is_none_or(|count| count.min_values() == 0)
}

fn name(flag: &Arg) -> String {
    let short = flag.get_short().map_or_else(|| "      ".to_owned(), |c| format!("  -{c}, "));
    let kind = match flag.get_value_names() {
        Some([kind, ..]) if !is_switch(flag) => format!(" {kind}"),
        _ => String::new(),
    };
    format!("{short}--{}{kind}", flag.get_long().unwrap_or_default())
}

fn wrap(text: &str, column: usize) -> String {
    let room = WIDTH.saturating_sub(column).max(24);
    let mut out = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            out.push('\n');
            out.push_str(&" ".repeat(column));
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
    }
    out
}

/// `hull run [OPTIONS] IMAGE [COMMAND] [ARG...]`
fn line(entry: &Entry, command: &Command) -> String {
    let mut text = format!("hull {}", entry.path);
    if command.get_arguments().any(|flag| !flag.is_positional() && flag.get_id() != "help") {
        text.push_str(" [OPTIONS]");
    }
    for words in command.get_positionals() {
        let names: Vec<&str> =
            words.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
        let name = names.first().copied().unwrap_or("ARG");
        let count = words.get_num_args().unwrap_or_default();
        if words.is_trailing_var_arg_set() {
            let second = names.get(1).copied().unwrap_or("ARG");
            let second =
                if count.min_values() > 1 { second.to_owned() } else { format!("[{second}]") };
            text.push_str(&format!(" {name} {second} [ARG...]"));
        } else if name.contains(' ') {
            text.push_str(&format!(" {name}"));
        } else if !words.is_required_set() {
            text.push_str(&format!(" [{name}]"));
        } else if count.max_values() > 1 {
            text.push_str(&format!(" {name} [{name}...]"));
        } else {
            text.push_str(&format!(" {name}"));
        }
    }
    text
}

/// The failure for a command line that clap refused: 125, or 1 for a wrong number of arguments.
pub(crate) fn complaint(
    entry: &Entry,
    command: &Command,
    error: &clap::Error,
    words: &[String],
) -> Exit {
    let (message, code) = explain(entry, command, error, words);
    let (usage, path) = (line(entry, command), entry.path);
    let error = anyhow::anyhow!(
        "{message}\n\nUsage:  {usage}\n\nRun 'hull {path} --help' for more information"
    );
    Exit { error, code }
}

fn explain(
    entry: &Entry,
    command: &Command,
    error: &clap::Error,
    words: &[String],
) -> (String, u8) {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let invalid = context(ContextKind::InvalidArg);
    let name = invalid.split([' ', '=', '[']).next().unwrap_or_default();
    let short = name.strip_prefix('-').filter(|rest| rest.chars().count() == 1);
    match error.kind() {
        ErrorKind::UnknownArgument if !name.starts_with('-') => (count(entry, command), 1),
        ErrorKind::UnknownArgument => match short {
            Some(letter) => {
                let word = words.iter().find(|word| is_cluster(word) && word.contains(letter));
                let word = word.map_or(name, String::as_str);
                (format!("unknown shorthand flag: '{letter}' in {word}"), 125)
            }
            None => (format!("unknown flag: {name}"), 125),
        },
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues | ErrorKind::TooManyValues => {
            (count(entry, command), 1)
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            let flag = named(command, name);
            if flag.is_none_or(Arg::is_positional) {
                return (count(entry, command), 1);
            }
            let last = words.last().map_or("", String::as_str);
            match last.chars().last() {
                Some(letter) if is_cluster(last) => {
                    (format!("flag needs an argument: '{letter}' in {last}"), 125)
                }
                _ => (format!("flag needs an argument: {name}"), 125),
            }
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue);
            let reason = match named(command, name) {
                Some(flag) if is_switch(flag) => {
                    format!("strconv.ParseBool: parsing {value:?}: invalid syntax")
                }
                _ => "invalid syntax".to_owned(),
            };
            let flag = flag_name(command, name);
            (format!("invalid argument {value:?} for {flag:?} flag: {reason}"), 125)
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            (first.strip_prefix("error: ").unwrap_or(first).to_owned(), 125)
        }
    }
}

fn is_cluster(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--")
}

/// The option that clap calls `shown`.
fn named<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|flag| {
        let long = flag.get_long().is_some_and(|long| shown.strip_prefix("--") == Some(long));
        let short = flag.get_short().is_some_and(|letter| shown == format!("-{letter}"));
        long || short
    })
}

/// `-m, --memory`
pub(crate) fn flag_name(command: &Command, shown: &str) -> String {
    match named(command, shown) {
        Some(flag) => match (flag.get_short(), flag.get_long()) {
            (Some(short), Some(long)) => format!("-{short}, --{long}"),
            _ => shown.to_owned(),
        },
        None => shown.to_owned(),
    }
}

/// How many arguments the command takes.
fn count(entry: &Entry, command: &Command) -> String {
    let (mut least, mut most) = (0, 0usize);
    for words in command.get_positionals() {
        let count = words.get_num_args().unwrap_or_default();
        let trailing = words.is_trailing_var_arg_set() || words.is_required_set();
        least += if trailing { count.min_values().max(1) } else { 0 };
        most = most.saturating_add(count.max_values().max(1));
    }
    let path = entry.path;
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    match (least, most) {
        (_, 0) => format!("'hull {path}' accepts no arguments"),
        (0, most) => format!("'hull {path}' requires at most {most} {}", plural(most)),
        (least, most) if least == most => {
            format!("'hull {path}' requires {least} {}", plural(least))
        }
        (least, _) => format!("'hull {path}' requires at least {least} {}", plural(least)),
    }
}

#[cfg(test)]
mod tests {
    use crate::commands;

    fn complaint(line: &str) -> (String, u8) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (entry, rest) = commands::find(&words).unwrap();
        let mut command = (entry.command)().no_binary_name(true);
        let error = command.try_get_matches_from_mut(rest).unwrap_err();
        let exit = super::complaint(entry, &command, &error, rest);
        let text = exit.error.to_string();
        (text.lines().next().unwrap().to_owned(), exit.code)
    }

    #[test]
    fn complaints_are_dockers() {
        let table = [
            ("run", "'hull run' requires at least 1 argument", 1),
            ("run --nope", "unknown flag: --nope", 125),
            ("run -Z x", "unknown shorthand flag: 'Z' in -Z", 125),
            ("run -itZ x", "unknown shorthand flag: 'Z' in -itZ", 125),
            ("run --name", "flag needs an argument: --name", 125),
            ("run -e A -e", "flag needs an argument: 'e' in -e", 125),
            (
                "run --rm=foo busybox",
                "invalid argument \"foo\" for \"--rm\" flag: strconv.ParseBool: parsing \"foo\": \
                 invalid syntax",
                125,
            ),
            ("ps extra", "'hull ps' accepts no arguments", 1),
            ("ps --nope", "unknown flag: --nope", 125),
            ("ps -f", "flag needs an argument: 'f' in -f", 125),
            ("stop", "'hull stop' requires at least 1 argument", 1),
            ("exec", "'hull exec' requires at least 2 arguments", 1),
            ("exec web", "'hull exec' requires at least 2 arguments", 1),
            ("logs", "'hull logs' requires 1 argument", 1),
            ("tag", "'hull tag' requires 2 arguments", 1),
            ("tag a", "'hull tag' requires 2 arguments", 1),
            ("images a b", "'hull images' requires at most 1 argument", 1),
            ("kill --signal", "flag needs an argument: --signal", 125),
            ("info extra", "'hull info' accepts no arguments", 1),
            ("import", "'hull import' requires at least 1 argument", 1),
            ("volume rm", "'hull volume rm' requires at least 1 argument", 1),
        ];
        for (line, message, code) in table {
            assert_eq!(complaint(line), (message.to_owned(), code), "hull {line}");
        }
    }

    #[test]
    fn usage_lines_are_dockers() {
        let table = [
            ("run", "hull run [OPTIONS] IMAGE [COMMAND] [ARG...]"),
            ("exec", "hull exec [OPTIONS] CONTAINER COMMAND [ARG...]"),
            ("rm", "hull rm [OPTIONS] CONTAINER [CONTAINER...]"),
            ("tag", "hull tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"),
            ("images", "hull images [OPTIONS] [REPOSITORY[:TAG]]"),
            ("wait", "hull wait [OPTIONS] CONTAINER [CONTAINER...]"),
            ("image rm", "hull rmi [OPTIONS] IMAGE [IMAGE...]"),
        ];
        for (words, line) in table {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let (entry, _) = commands::find(&words).unwrap();
            let mut command = (entry.command)();
            command.build();
            assert_eq!(super::line(entry, &command), line);
        }
    }

    #[test]
    fn what_follows_the_image_is_the_containers() {
        let words: Vec<String> =
            ["-itd", "--name=x", "-eA=b", "busybox", "sh", "-c", "--rm", "--", "-it"]
                .map(str::to_owned)
                .into();
        let (entry, _) = commands::find(&["run".to_owned()]).unwrap();
        let matches = (entry.command)().no_binary_name(true).try_get_matches_from(&words).unwrap();
        let texts = |name| crate::options::texts(&matches, name);
        assert_eq!(texts("image"), ["busybox", "sh", "-c", "--rm", "--", "-it"]);
        assert_eq!(
            (texts("env"), crate::options::text(&matches, "name")),
            (vec!["A=b".to_owned()], Some("x"))
        );
        assert!(
            ["interactive", "tty", "detach"]
                .iter()
                .all(|flag| crate::options::is_set(&matches, flag))
        );
        assert!(!crate::options::is_set(&matches, "rm"));
    }
}
