//! A container's configuration out of the client's wishes and the image's defaults.

use super::health;
use crate::error::ApiError;
use hull_api::{ContainerConfig, Empty};
use hull_oci::RuntimeConfig;

/// Fills what the client left open with what the image says, as Docker does.
///
/// An entry point of the client's takes the image's command away; an empty one (`[""]`) takes
/// the image's entry point away too.
///
/// # Errors
/// If there is nothing to run, or the working directory is not absolute.
pub(crate) fn merge(
    mut config: ContainerConfig,
    image: RuntimeConfig,
) -> Result<ContainerConfig, ApiError> {
    merge_command(&mut config, &image)?;
    merge_environment(&mut config.env, image.env);
    let fill = |own: &mut String, default: String| {
        if own.is_empty() {
            *own = default;
        }
    };
    fill(&mut config.user, image.user);
    fill(&mut config.working_dir, image.working_dir);
    for port in image.exposed_ports {
        config.exposed_ports.entry(port).or_default();
    }
    for path in image.volumes {
        config.volumes.entry(path).or_insert(Empty {});
    }
    for (name, value) in image.labels {
        config.labels.entry(name).or_insert(value);
    }
    if config.stop_signal.as_deref().unwrap_or_default().is_empty() {
        config.stop_signal = Some(image.stop_signal).filter(|signal| !signal.is_empty());
    }
    config.stop_timeout = config.stop_timeout.or(image.stop_timeout);
    config.healthcheck = health::merge(config.healthcheck, image.healthcheck);
    if config.shell.is_none() && !image.shell.is_empty() {
        config.shell = Some(image.shell);
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(ApiError::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    Ok(config)
}

fn merge_command(config: &mut ContainerConfig, image: &RuntimeConfig) -> Result<(), ApiError> {
    let words = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if is_empty(&config.entrypoint) {
        if is_empty(&config.cmd) {
            config.cmd = words(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint = words(&image.entrypoint);
        }
    }
    if config.entrypoint.as_ref().is_some_and(|list| list.len() == 1 && list[0].is_empty()) {
        config.entrypoint = None;
    }
    if is_empty(&config.entrypoint) && is_empty(&config.cmd) {
        return Err(ApiError::invalid("no command specified")
            .hint("the image names no command; give one after the image"));
    }
    Ok(())
}

/// Appends the image's variables that the client neither sets nor takes away.
fn merge_environment(own: &mut Vec<String>, image: Vec<String>) {
    let given: Vec<String> = own.iter().map(|entry| variable(entry).to_owned()).collect();
    own.extend(image.into_iter().filter(|entry| !given.iter().any(|name| name == variable(entry))));
}

/// The name in `NAME=value` or `NAME`.
pub(crate) fn variable(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Program and arguments: the entry point, then the command.
#[must_use]
pub(crate) fn command_line(config: &ContainerConfig) -> Vec<String> {
    let parts = [&config.entrypoint, &config.cmd];
    parts.into_iter().flatten().flatten().cloned().collect()
}

/// Environment of a process: `base`, then `entries`, each name once and at its first place. A
/// name without a value takes the variable away.
#[must_use]
pub(crate) fn environment(base: Vec<String>, entries: &[String]) -> Vec<String> {
    let mut result = base;
    for entry in entries {
        let name = variable(entry);
        let place = result.iter().position(|known| variable(known) == name);
        match (entry.contains('='), place) {
            (true, Some(place)) => entry.clone_into(&mut result[place]),
            (true, None) => result.push(entry.clone()),
            (false, Some(place)) => drop(result.remove(place)),
            (false, None) => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    /// Entry point and command of client and image, and the resulting command line.
    fn check(
        client: (Option<&[&str]>, Option<&[&str]>),
        image: (&[&str], &[&str]),
        expected: Result<&[&str], &str>,
    ) {
        let config = ContainerConfig {
            entrypoint: client.0.map(list),
            cmd: client.1.map(list),
            ..Default::default()
        };
        let image =
            RuntimeConfig { entrypoint: list(image.0), cmd: list(image.1), ..Default::default() };
        match (merge(config, image), expected) {
            (Ok(config), Ok(words)) => assert_eq!(command_line(&config), words),
            (Err(error), Err(message)) => assert_eq!(error.message, message),
            (found, _) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn commands() {
        check((None, None), (&[], &["sh"]), Ok(&["sh"]));
        check((None, None), (&["e"], &["c"]), Ok(&["e", "c"]));
        check((None, Some(&["x"])), (&["e"], &["c"]), Ok(&["e", "x"]));
        check((None, Some(&[])), (&["e"], &["c"]), Ok(&["e", "c"]));
        check((Some(&["x"]), None), (&["e"], &["c"]), Ok(&["x"]));
        check((Some(&["x"]), Some(&["y"])), (&["e"], &["c"]), Ok(&["x", "y"]));
        check((Some(&[""]), Some(&["y"])), (&["e"], &["c"]), Ok(&["y"]));
        check((Some(&[""]), None), (&["e"], &["c"]), Err("no command specified"));
        check((Some(&[]), None), (&["e"], &["c"]), Ok(&["c"]));
        check((None, None), (&[], &[]), Err("no command specified"));
    }

    #[test]
    fn the_rest() {
        let config = ContainerConfig {
            env: list(&["A=mine", "B"]),
            user: "me".to_owned(),
            labels: [("l".to_owned(), "mine".to_owned())].into(),
            ..Default::default()
        };
        let image = RuntimeConfig {
            env: list(&["A=theirs", "B=theirs", "C=theirs"]),
            user: "them".to_owned(),
            working_dir: "/w".to_owned(),
            labels: ["l", "m"].map(|name| (name.to_owned(), "theirs".to_owned())).into(),
            volumes: ["/data".to_owned()].into(),
            exposed_ports: ["80/tcp".to_owned()].into(),
            cmd: list(&["c"]),
            stop_signal: "SIGINT".to_owned(),
            ..Default::default()
        };
        let merged = merge(config, image).unwrap();
        assert_eq!(merged.env, ["A=mine", "B", "C=theirs"]);
        assert_eq!(merged.user, "me");
        assert_eq!(merged.working_dir, "/w");
        assert_eq!(merged.labels["l"], "mine");
        assert_eq!(merged.labels["m"], "theirs");
        assert!(merged.volumes.contains_key("/data"));
        assert!(merged.exposed_ports.contains_key("80/tcp"));
        assert_eq!(merged.stop_signal.as_deref(), Some("SIGINT"));
    }

    #[test]
    fn a_relative_working_directory_is_refused() {
        let config = ContainerConfig {
            cmd: Some(list(&["c"])),
            working_dir: "w".to_owned(),
            ..Default::default()
        };
        let error = merge(config, RuntimeConfig::default()).unwrap_err();
        assert!(error.message.contains("needs to be an absolute path"));
    }

    #[test]
    fn environments() {
        let base = list(&["PATH=/bin", "TERM=xterm"]);
        let entries = list(&["A=1", "PATH=/x", "TERM", "A=2", "GONE"]);
        assert_eq!(environment(base, &entries), ["PATH=/x", "A=2"]);
    }
}
