//! From the words of a line to an [`Instruction`].

use hull_oci::Healthcheck;

use super::flags::{Flags, Kind};
use super::lines::Logical;
use super::{Wrong, heredoc, unknown, words};
use crate::duration;
use crate::instruction::{
    Argument, CommandLine, Copy, Instruction, Network, Pair, Run, Security, Stage,
};
use crate::suggest;

/// Reads an instruction other than `FROM`.
pub(super) fn parse(line: &Logical, escape: char) -> Result<Instruction, Wrong> {
    let keyword = line.keyword.to_ascii_uppercase();
    let rest = line.rest.as_str();
    Ok(match keyword.as_str() {
        "ADD" => Instruction::Add(copy(line, "ADD")?),
        "ARG" => Instruction::Arg(arguments(line, escape)?),
        "CMD" => {
            no_flags(line, "CMD")?;
            Instruction::Cmd(command_line(rest)?)
        }
        "COPY" => Instruction::Copy(copy(line, "COPY")?),
        "ENTRYPOINT" => {
            no_flags(line, "ENTRYPOINT")?;
            Instruction::Entrypoint(command_line(rest)?)
        }
        "ENV" => Instruction::Env(pairs(line, "ENV", escape)?),
        "EXPOSE" => Instruction::Expose(expose(line)?),
        "HEALTHCHECK" => Instruction::Healthcheck(healthcheck(line)?),
        "LABEL" => Instruction::Label(pairs(line, "LABEL", escape)?),
        "MAINTAINER" => Instruction::Maintainer(one(line, "MAINTAINER")?),
        "ONBUILD" => Instruction::Onbuild(trigger(line)?),
        "RUN" => Instruction::Run(run(line)?),
        "SHELL" => Instruction::Shell(shell(line)?),
        "STOPSIGNAL" => Instruction::Stopsignal(one(line, "STOPSIGNAL")?),
        "USER" => Instruction::User(one(line, "USER")?),
        "VOLUME" => Instruction::Volume(volumes(line)?),
        "WORKDIR" => Instruction::Workdir(one(line, "WORKDIR")?),
        _ => return Err(unknown(&line.keyword)),
    })
}

/// Reads `FROM`.
pub(super) fn from(line: Logical) -> Result<Stage, Wrong> {
    let flags = Flags::parse(&line.flags, "FROM", &[("platform", Kind::Text)])?;
    let words = words::plain(&line.rest);
    let (base, written_as, written_name) = match words.as_slice() {
        [base] => (base.clone(), None, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => {
            (base.clone(), Some(word.clone()), Some(name.clone()))
        }
        [_, word, _] => {
            let hint = suggest::hint(word, ["AS"]);
            return Err(Wrong::new("FROM requires either one or three arguments: image [AS name]")
                .word(word)
                .hint(hint));
        }
        _ => {
            return Err(Wrong::new("FROM requires either one or three arguments: image [AS name]"));
        }
    };
    let name = written_name.as_deref().map(stage_name).transpose()?;
    Ok(Stage {
        name,
        written_name,
        written_as,
        keyword: line.keyword,
        base,
        platform: flags.text("platform").filter(|platform| !platform.is_empty()),
        lines: line.lines,
        text: line.text.trim().to_owned(),
        comments: line.comments,
        statements: Vec::new(),
    })
}

fn stage_name(written: &str) -> Result<String, Wrong> {
    let name = written.to_lowercase();
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if good {
        return Ok(name);
    }
    let message = format!(
        "invalid name for build stage: {written:?}, name can't start with a number or contain symbols"
    );
    Err(Wrong::new(message).word(written))
}

fn no_flags(line: &Logical, keyword: &str) -> Result<(), Wrong> {
    Flags::parse(&line.flags, keyword, &[]).map(|_| ())
}

fn at_least_one(keyword: &str) -> Wrong {
    Wrong::new(format_args!("{keyword} requires at least one argument"))
}

/// The rest of the line as it is.
fn one(line: &Logical, keyword: &str) -> Result<String, Wrong> {
    no_flags(line, keyword)?;
    if line.rest.is_empty() {
        return Err(Wrong::new(format_args!("{keyword} requires exactly one argument")));
    }
    Ok(line.rest.clone())
}

fn command_line(rest: &str) -> Result<CommandLine, Wrong> {
    Ok(match words::json(rest)? {
        Some(words) => CommandLine::Exec(words),
        None => CommandLine::Shell(rest.to_owned()),
    })
}

fn arguments(line: &Logical, escape: char) -> Result<Vec<Argument>, Wrong> {
    no_flags(line, "ARG")?;
    let words = words::quoted(&line.rest, escape);
    if words.is_empty() {
        return Err(at_least_one("ARG"));
    }
    words
        .into_iter()
        .map(|word| {
            let (name, default) = match word.split_once('=') {
                Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
                None => (word.clone(), None),
            };
            if name.is_empty() {
                return Err(Wrong::new("ARG names can not be blank").word(&word));
            }
            let description = described(&line.comments, &name);
            Ok(Argument { name, default, description })
        })
        .collect()
}

/// What a comment `# name what it is` says of `name`.
pub(super) fn described(comments: &[String], name: &str) -> Option<String> {
    comments.iter().find_map(|comment| {
        let text = comment.strip_prefix(name)?.strip_prefix(' ')?;
        Some(text.trim().to_owned())
    })
}

fn pairs(line: &Logical, keyword: &str, escape: char) -> Result<Vec<Pair>, Wrong> {
    no_flags(line, keyword)?;
    let words = words::quoted(&line.rest, escape);
    let Some(first) = words.first() else { return Err(at_least_one(keyword)) };
    if !first.contains('=') {
        let Some((name, value)) = line.rest.split_once(words::SPACES) else {
            return Err(Wrong::new(format_args!("{keyword} must have two arguments")).word(first));
        };
        let value = value.trim_start_matches(words::SPACES);
        return Ok(vec![Pair { name: name.to_owned(), value: value.to_owned(), legacy: true }]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => {
                Err(Wrong::new(format_args!("{keyword} names can not be blank")).word(word))
            }
            Some((name, value)) => {
                Ok(Pair { name: name.to_owned(), value: value.to_owned(), legacy: false })
            }
            None => Err(Wrong::new(format_args!(
                "can't find = in {word:?} of {keyword}: it must be of the form name=value"
            ))
            .word(word)),
        })
        .collect()
}

fn expose(line: &Logical) -> Result<Vec<String>, Wrong> {
    no_flags(line, "EXPOSE")?;
    let mut ports = words::plain(&line.rest);
    if ports.is_empty() {
        return Err(at_least_one("EXPOSE"));
    }
    ports.sort();
    Ok(ports)
}

fn volumes(line: &Logical) -> Result<Vec<String>, Wrong> {
    no_flags(line, "VOLUME")?;
    let volumes = list(&line.rest)?;
    if volumes.is_empty() {
        return Err(at_least_one("VOLUME"));
    }
    let volumes: Vec<String> = volumes.iter().map(|volume| volume.trim().to_owned()).collect();
    if volumes.iter().any(String::is_empty) {
        return Err(Wrong::new("VOLUME specified can not be an empty string"));
    }
    Ok(volumes)
}

/// A JSON array, or words between spaces.
fn list(rest: &str) -> Result<Vec<String>, Wrong> {
    Ok(words::json(rest)?.unwrap_or_else(|| words::plain(rest)))
}

fn shell(line: &Logical) -> Result<Vec<String>, Wrong> {
    no_flags(line, "SHELL")?;
    match words::json(&line.rest)? {
        Some(words) if words.is_empty() => Err(at_least_one("SHELL")),
        Some(words) => Ok(words),
        None => Err(Wrong::new("SHELL requires the arguments to be in JSON form")
            .word(&line.rest)
            .hint(Some(r#"for example SHELL ["/bin/bash", "-c"]"#.to_owned()))),
    }
}

fn trigger(line: &Logical) -> Result<String, Wrong> {
    no_flags(line, "ONBUILD")?;
    if line.rest.is_empty() {
        return Err(at_least_one("ONBUILD"));
    }
    let (inner, _) = words::keyword(&line.rest);
    match inner.to_ascii_uppercase().as_str() {
        "ONBUILD" => {
            return Err(Wrong::new("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"));
        }
        word @ ("MAINTAINER" | "FROM") => {
            return Err(Wrong::new(format_args!("{word} isn't allowed as an ONBUILD trigger")));
        }
        word if !super::KEYWORDS.contains(&word) => return Err(unknown(inner)),
        _ => {}
    }
    let (_, text) = words::keyword(&line.text);
    let mut text = text.to_owned();
    for heredoc in &line.heredocs {
        text.push('\n');
        text.push_str(&heredoc.data);
        text.push_str(&heredoc.name);
    }
    Ok(text)
}

fn run(line: &Logical) -> Result<Run, Wrong> {
    let known = [
        ("mount", Kind::Texts),
        ("network", Kind::Text),
        ("security", Kind::Text),
        ("device", Kind::Texts),
    ];
    let flags = Flags::parse(&line.flags, "RUN", &known)?;
    let network = match flags.text("network").as_deref() {
        None | Some("default") => Network::Default,
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => {
            return Err(unsupported("network mode", other, &["default", "none", "host"]));
        }
    };
    let security = match flags.text("security").as_deref() {
        None | Some("sandbox") => Security::Sandbox,
        Some("insecure") => Security::Insecure,
        Some(other) => return Err(unsupported("security mode", other, &["sandbox", "insecure"])),
    };
    let mounts = flags.texts("mount");
    for mount in &mounts {
        crate::mount::check_from(mount).map_err(|wrong| wrong.word(mount))?;
    }
    if line.rest.is_empty() {
        return Err(at_least_one("RUN"));
    }
    let command = command_line(&line.rest)?;
    if matches!(&command, CommandLine::Exec(words) if words.is_empty()) {
        return Err(at_least_one("RUN"));
    }
    let heredocs = line.heredocs.clone();
    let devices = flags.texts("device");
    Ok(Run { command, heredocs, mounts, network, security, devices })
}

fn unsupported(what: &str, word: &str, known: &[&str]) -> Wrong {
    Wrong::new(format_args!("unsupported {what} {word:?}: it is one of {}", known.join(", ")))
        .word(word)
        .hint(suggest::hint(word, known.iter().copied()))
}

fn copy(line: &Logical, keyword: &str) -> Result<Copy, Wrong> {
    let shared = [
        ("chown", Kind::Text),
        ("chmod", Kind::Text),
        ("link", Kind::Switch),
        ("exclude", Kind::Texts),
    ];
    let own: &[(&str, Kind)] = match keyword {
        "ADD" => {
            &[("keep-git-dir", Kind::Switch), ("checksum", Kind::Text), ("unpack", Kind::Switch)]
        }
        _ => &[("from", Kind::Text), ("parents", Kind::Switch)],
    };
    let known: Vec<(&str, Kind)> = shared.iter().chain(own).copied().collect();
    let flags = Flags::parse(&line.flags, keyword, &known)?;
    let mut words = list(&line.rest)?;
    let destination = words.pop().unwrap_or_default();
    if words.is_empty() {
        return Err(Wrong::new(format_args!(
            "{keyword} requires at least two arguments, but only {} provided: the destination could not be determined",
            if destination.is_empty() { "none were" } else { "one was" }
        )));
    }
    if !line.heredocs.is_empty() && heredoc::parse(&destination).is_some() {
        return Err(Wrong::new(format_args!("{keyword} cannot accept a heredoc as a destination"))
            .word(&destination));
    }
    let non_empty = |name| flags.text(name).filter(|text: &String| !text.is_empty());
    Ok(Copy {
        sources: words,
        heredocs: line.heredocs.clone(),
        destination,
        from: non_empty("from"),
        chown: non_empty("chown"),
        chmod: non_empty("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.texts("exclude"),
        checksum: non_empty("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
    })
}

fn healthcheck(line: &Logical) -> Result<Healthcheck, Wrong> {
    let known = [
        ("interval", Kind::Text),
        ("timeout", Kind::Text),
        ("start-period", Kind::Text),
        ("start-interval", Kind::Text),
        ("retries", Kind::Text),
    ];
    let flags = Flags::parse(&line.flags, "HEALTHCHECK", &known)?;
    let (kind, rest) = words::keyword(&line.rest);
    let rest = rest.trim();
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(at_least_one("HEALTHCHECK")),
        "NONE" if rest.is_empty() => {
            Ok(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() })
        }
        "NONE" => Err(Wrong::new("HEALTHCHECK NONE takes no arguments").word(rest)),
        "CMD" => {
            let (kind, words) = match command_line(rest)? {
                CommandLine::Exec(words) => ("CMD", words),
                CommandLine::Shell(text) => ("CMD-SHELL", vec![text]),
            };
            if words.iter().all(String::is_empty) {
                return Err(Wrong::new("missing command after HEALTHCHECK CMD"));
            }
            Ok(Healthcheck {
                test: std::iter::once(kind.to_owned()).chain(words).collect(),
                interval: interval(&flags, "interval")?,
                timeout: interval(&flags, "timeout")?,
                start_period: interval(&flags, "start-period")?,
                start_interval: interval(&flags, "start-interval")?,
                retries: retries(&flags)?,
            })
        }
        _ => Err(Wrong::new(format_args!("unknown type {kind:?} in HEALTHCHECK (try CMD)"))
            .word(kind)
            .hint(suggest::hint(kind, ["CMD", "NONE"]))),
    }
}

/// A duration that is absent, zero, or at least a millisecond.
fn interval(flags: &Flags, name: &str) -> Result<i64, Wrong> {
    let Some(text) = flags.text(name).filter(|text| !text.is_empty()) else { return Ok(0) };
    match duration::nanoseconds(&text) {
        None => Err(Wrong::new(format_args!("--{name} is not a duration: {text:?}")).word(&text)),
        Some(0) => Ok(0),
        Some(nanoseconds) if nanoseconds < 1_000_000 => {
            Err(Wrong::new(format_args!("--{name} cannot be less than 1ms: {text}")).word(&text))
        }
        Some(nanoseconds) => Ok(nanoseconds),
    }
}

fn retries(flags: &Flags) -> Result<i64, Wrong> {
    let Some(text) = flags.text("retries").filter(|text| !text.is_empty()) else { return Ok(0) };
    let count: i32 = text
        .parse()
        .map_err(|_| Wrong::new(format_args!("--retries is not a number: {text:?}")).word(&text))?;
    if count < 0 {
        return Err(Wrong::new(format_args!("--retries cannot be negative ({count})")).word(&text));
    }
    Ok(count.into())
}
