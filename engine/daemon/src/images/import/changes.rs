//! Dockerfile instructions that change an image config without running anything.
//!
//! Spec: Dockerfile reference; `docker import --change`. SHELL is taken too, Docker refuses it.

use std::collections::BTreeSet;

use hull_oci::RuntimeConfig;

use super::health;
use super::words::{WordError, expand, split};

/// An instruction that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not one of those that make sense here.
    #[error("{0} is not a valid change command")]
    Unknown(String),
    /// Its arguments make no sense.
    #[error("{instruction}: {reason}")]
    Arguments {
        /// The instruction.
        instruction: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A word of it cannot be read.
    #[error(transparent)]
    Word(#[from] WordError),
}

/// Applies `changes`, each of them one or more lines of instructions, in order.
pub(in crate::images) fn apply(
    mut config: RuntimeConfig,
    changes: &[String],
) -> Result<RuntimeConfig, ChangeError> {
    let mut has_command = false;
    for line in logical_lines(&changes.join("\n")) {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        instruction(&mut config, name, rest.trim())?;
        has_command |= name.eq_ignore_ascii_case("CMD");
        // A command from before was meant for the entry point from before.
        if name.eq_ignore_ascii_case("ENTRYPOINT") && !has_command {
            config.cmd.clear();
        }
    }
    Ok(config)
}

/// Lines without comments and empty ones, a backslash at the end joining the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(begin) = line.strip_suffix('\\') {
            current.push_str(begin);
        } else {
            current.push_str(line);
            lines.push(std::mem::take(&mut current));
        }
    }
    if !current.is_empty() {
        lines.push(current);
    }
    lines
}

fn instruction(config: &mut RuntimeConfig, name: &str, rest: &str) -> Result<(), ChangeError> {
    let upper = name.to_ascii_uppercase();
    match upper.as_str() {
        "CMD" => config.cmd = shell_or_words(config, rest),
        "ENTRYPOINT" => config.entrypoint = shell_or_words(config, rest),
        "ENV" => {
            for (name, value) in pairs(config, "ENV", rest)? {
                set_environment(&mut config.env, &name, &value);
            }
        }
        "LABEL" => {
            let labels = pairs(config, "LABEL", rest)?;
            config.labels.extend(labels);
        }
        "EXPOSE" => {
            let words = required(split(rest), "EXPOSE")?;
            for word in words {
                ports(&expanded(config, &word)?, &mut config.exposed_ports)?;
            }
        }
        "USER" => config.user = one(config, "USER", rest)?,
        "VOLUME" => {
            let words = command(rest).unwrap_or_else(|_| split(rest));
            for word in required(words, "VOLUME")? {
                let path = expanded(config, &word)?.trim().to_owned();
                if path.is_empty() {
                    return Err(arguments("VOLUME", "a path is empty"));
                }
                config.volumes.insert(path);
            }
        }
        "WORKDIR" => {
            let path = one(config, "WORKDIR", rest)?;
            config.working_dir = join(&config.working_dir, &path);
        }
        "STOPSIGNAL" => {
            let signal = one(config, "STOPSIGNAL", rest)?;
            if !is_signal(&signal) {
                return Err(arguments("STOPSIGNAL", format!("{signal:?} is not a signal")));
            }
            config.stop_signal = signal;
        }
        "ONBUILD" => {
            let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            match trigger.as_str() {
                "" => return Err(arguments("ONBUILD", "requires an instruction")),
                "ONBUILD" | "FROM" | "MAINTAINER" => {
                    return Err(arguments(
                        "ONBUILD",
                        format!("{trigger} is not allowed as a trigger"),
                    ));
                }
                _ => config.on_build.push(rest.to_owned()),
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(health::parse(rest)?),
        "SHELL" => {
            let words = command(rest).map_err(|_| arguments("SHELL", "requires a JSON array"))?;
            config.shell = required(words, "SHELL")?;
        }
        _ => return Err(ChangeError::Unknown(name.to_owned())),
    }
    Ok(())
}

/// A command in JSON (`Ok`), or the text as it is (`Err`): what is not JSON is for the shell.
pub(super) fn command(rest: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(rest.trim()).map_err(|_| rest.trim().to_owned())
}

fn shell_or_words(config: &RuntimeConfig, rest: &str) -> Vec<String> {
    command(rest).unwrap_or_else(|line| {
        let default = || ["/bin/sh", "-c"].map(str::to_owned).to_vec();
        let mut words = if config.shell.is_empty() { default() } else { config.shell.clone() };
        words.push(line);
        words
    })
}

fn arguments(instruction: &'static str, reason: impl Into<String>) -> ChangeError {
    ChangeError::Arguments { instruction, reason: reason.into() }
}

fn required(words: Vec<String>, instruction: &'static str) -> Result<Vec<String>, ChangeError> {
    if words.is_empty() {
        return Err(arguments(instruction, "requires at least one argument"));
    }
    Ok(words)
}

fn expanded(config: &RuntimeConfig, word: &str) -> Result<String, WordError> {
    expand(word, &|name| {
        let value = |entry: &String| {
            entry.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        config.env.iter().find_map(value)
    })
}

fn one(config: &RuntimeConfig, name: &'static str, rest: &str) -> Result<String, ChangeError> {
    let value = expanded(config, rest)?;
    if value.is_empty() {
        return Err(arguments(name, "requires exactly one argument"));
    }
    Ok(value)
}

/// `name=value ...`, or the old form `name value with blanks`.
fn pairs(
    config: &RuntimeConfig,
    instruction: &'static str,
    rest: &str,
) -> Result<Vec<(String, String)>, ChangeError> {
    let words = required(split(rest), instruction)?;
    if !words[0].contains('=') {
        let (name, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| arguments(instruction, "must have two arguments"))?;
        return Ok(vec![(expanded(config, name)?, expanded(config, value.trim())?)]);
    }
    words
        .iter()
        .map(|word| {
            let (name, value) = word.split_once('=').ok_or_else(|| {
                arguments(
                    instruction,
                    format!("can't find = in {word:?}, must be of the form: name=value"),
                )
            })?;
            let name = expanded(config, name)?;
            if name.is_empty() {
                return Err(arguments(instruction, "names can not be blank"));
            }
            Ok((name, expanded(config, value)?))
        })
        .collect()
}

fn set_environment(environment: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let same = |old: &&mut String| old.split('=').next() == Some(name);
    match environment.iter_mut().find(same) {
        Some(old) => *old = entry,
        None => environment.push(entry),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(text: &str, into: &mut BTreeSet<String>) -> Result<(), ChangeError> {
    let invalid = || arguments("EXPOSE", format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(arguments("EXPOSE", format!("invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(invalid());
    }
    into.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    Ok(())
}

/// `path` seen from `base`, without `.`, `..` and doubled slashes.
fn join(base: &str, path: &str) -> String {
    let mut parts = Vec::new();
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn is_signal(text: &str) -> bool {
    const NAMES: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR \
         QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ";
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str| match name.strip_prefix(prefix) {
        Some("") => true,
        Some(offset) => offset[1..].parse::<u8>().is_ok_and(|offset| offset <= 30),
        None => false,
    };
    NAMES.split_whitespace().any(|known| known == name)
        || (name.is_ascii() && (real_time("RTMIN") || real_time("RTMAX")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> Result<RuntimeConfig, ChangeError> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        apply(RuntimeConfig::default(), &changes)
    }

    #[test]
    fn every_instruction() {
        let config = applied(&[
            "cmd [\"nginx\", \"-g\"]",
            "ENTRYPOINT run it",
            "ENV A=1 B=\"two words\" \\\n  C='$A'",
            "ENV D $A and $B",
            "ENV A=3",
            "EXPOSE 80 8000-8002/udp",
            "LABEL a.b=\"x y\" c=$A",
            "USER postgres",
            "VOLUME [\"/data\", \"/more\"]",
            "VOLUME /x /y",
            "WORKDIR /srv",
            "WORKDIR app/../web",
            "STOPSIGNAL SIGRTMIN+3",
            "ONBUILD RUN make",
            "HEALTHCHECK NONE",
            "# a comment",
        ])
        .unwrap();
        assert_eq!(config.cmd, ["nginx", "-g"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env, ["A=3", "B=two words", "C=$A", "D=1 and two words"]);
        let ports: Vec<_> = config.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["80/tcp", "8000/udp", "8001/udp", "8002/udp"]);
        assert_eq!(config.labels["a.b"], "x y");
        assert_eq!(config.labels["c"], "3");
        assert_eq!(config.user, "postgres");
        assert_eq!(config.volumes.len(), 4);
        assert_eq!(config.working_dir, "/srv/web");
        assert_eq!(config.stop_signal, "SIGRTMIN+3");
        assert_eq!(config.on_build, ["RUN make"]);
        let shell = applied(&["SHELL [\"/bin/bash\", \"-c\"]", "CMD x"]).unwrap();
        assert_eq!(shell.cmd, ["/bin/bash", "-c", "x"]);
    }

    #[test]
    fn refused() {
        for bad in [
            "RUN x",
            "FROM x",
            "COPY a b",
            "ENV",
            "ENV A",
            "ENV A=1 B",
            "ENV =x",
            "ENV A='x",
            "EXPOSE",
            "EXPOSE x",
            "EXPOSE 70000",
            "EXPOSE 9-8",
            "EXPOSE 80/xyz",
            "LABEL",
            "USER",
            "VOLUME",
            "VOLUME [\"\"]",
            "WORKDIR",
            "STOPSIGNAL",
            "STOPSIGNAL 0",
            "STOPSIGNAL 65",
            "STOPSIGNAL NO",
            "STOPSIGNAL SIGRTMIN+é",
            "ONBUILD",
            "ONBUILD ONBUILD RUN x",
            "ONBUILD FROM x",
            "HEALTHCHECK",
            "SHELL sh",
            "SHELL []",
        ] {
            assert!(applied(&[bad]).is_err(), "{bad}");
        }
        assert_eq!(
            applied(&["RUN x"]).unwrap_err().to_string(),
            "RUN is not a valid change command"
        );
    }
}
