//! The options `run` and `create` share, and the request they make.

mod mount;
mod units;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use hull_api::{
    ContainerConfig, ContainerCreateBody, ContainerUpdateBody, Empty, Healthcheck, HostConfig,
    LogConfig, Ulimit,
};

use crate::terminal;

pub(crate) use units::bytes;

/// `--name` with an optional `=true` or `=false`, as Docker's switches take it.
pub(crate) fn switch(name: &'static str, short: Option<char>, help: &'static str) -> Arg {
    let arg = Arg::new(name)
        .long(name)
        .help(help)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(clap::builder::BoolishValueParser::new())
        .hide_possible_values(true)
        .overrides_with(name);
    match short {
        Some(short) => arg.short(short),
        None => arg,
    }
}

/// Whether a [`switch`] was set.
pub(crate) fn is_set(matches: &ArgMatches, name: &str) -> bool {
    matches.get_one::<bool>(name).copied().unwrap_or(false)
}

/// `--name VALUE`, once.
pub(crate) fn value(
    name: &'static str,
    short: Option<char>,
    shown: &'static str,
    help: &'static str,
) -> Arg {
    let arg = Arg::new(name)
        .long(name)
        .help(help)
        .value_name(shown)
        .allow_hyphen_values(true)
        .overrides_with(name);
    match short {
        Some(short) => arg.short(short),
        None => arg,
    }
}

/// `--name VALUE`, as often as wanted.
pub(crate) fn list(
    name: &'static str,
    short: Option<char>,
    shown: &'static str,
    help: &'static str,
) -> Arg {
    let arg = Arg::new(name)
        .long(name)
        .help(help)
        .value_name(shown)
        .allow_hyphen_values(true)
        .action(ArgAction::Append);
    match short {
        Some(short) => arg.short(short),
        None => arg,
    }
}

/// The text of a [`value`].
pub(crate) fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// The texts of a [`list`].
pub(crate) fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

/// The image, and the words after it, which are the container's own.
pub(crate) fn image_and_words() -> Arg {
    Arg::new("image")
        .value_names(["IMAGE", "COMMAND"])
        .help("The image, then the command and its arguments")
        .num_args(1..)
        .required(true)
        .trailing_var_arg(true)
}

/// Adds every option that `run` and `create` share.
pub(crate) fn with_container_options(command: Command) -> Command {
    command
        .disable_help_flag(true)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print usage"))
        .args([
            list("add-host", None, "HOST:IP", "Add a custom host-to-IP mapping"),
            list("annotation", None, "KEY=VALUE", "Add an annotation to the container"),
            list("attach", Some('a'), "STREAM", "Attach to STDIN, STDOUT or STDERR"),
            list("cap-add", None, "CAP", "Add Linux capabilities"),
            list("cap-drop", None, "CAP", "Drop Linux capabilities"),
            value("cidfile", None, "FILE", "Write the container ID to the file"),
            value("cpu-period", None, "MICROSECONDS", "Length of a CPU quota's period"),
            value("cpu-quota", None, "MICROSECONDS", "CPU time per period"),
            value("cpu-shares", Some('c'), "WEIGHT", "CPU shares (relative weight)"),
            value("cpus", None, "NUMBER", "Number of CPUs"),
            value("cpuset-cpus", None, "LIST", "CPUs in which to allow execution (0-3, 0,1)"),
            value(
                "cpuset-mems",
                None,
                "LIST",
                "Memory nodes in which to allow execution (0-3, 0,1)",
            ),
            list("dns", None, "ADDRESS", "Set custom DNS servers"),
            list("dns-option", None, "OPTION", "Set DNS options"),
            list("dns-search", None, "DOMAIN", "Set custom DNS search domains"),
            value("domainname", None, "NAME", "Container NIS domain name"),
            value("entrypoint", None, "PROGRAM", "Overwrite the default ENTRYPOINT of the image"),
            list("env", Some('e'), "NAME=VALUE", "Set environment variables"),
            list("env-file", None, "FILE", "Read in a file of environment variables"),
            list("expose", None, "PORT", "Expose a port or a range of ports"),
            value("health-cmd", None, "COMMAND", "Command to run to check health"),
            value(
                "health-interval",
                None,
                "DURATION",
                "Time between running the check (default 30s)",
            ),
            value(
                "health-retries",
                None,
                "NUMBER",
                "Consecutive failures needed to report unhealthy",
            ),
            value(
                "health-start-interval",
                None,
                "DURATION",
                "Time between running the check during the start period (default 5s)",
            ),
            value(
                "health-start-period",
                None,
                "DURATION",
                "Time for the container to start before failures count (default 0s)",
            ),
            value(
                "health-timeout",
                None,
                "DURATION",
                "Maximum time to allow one check to run (default 30s)",
            ),
            list("group-add", None, "GROUP", "Add additional groups to join"),
            value("hostname", Some('h'), "NAME", "Container host name"),
            switch(
                "init",
                None,
                "Run an init inside the container that forwards signals and reaps processes",
            ),
            switch("interactive", Some('i'), "Keep STDIN open even if not attached"),
            list("label", Some('l'), "NAME=VALUE", "Set meta data on a container"),
            list("label-file", None, "FILE", "Read in a line delimited file of labels"),
            value(
                "log-driver",
                None,
                "DRIVER",
                "Logging driver for the container (json-file, none)",
            ),
            list("log-opt", None, "NAME=VALUE", "Log driver options (max-size, max-file)"),
            value("memory", Some('m'), "BYTES", "Memory limit"),
            value("memory-reservation", None, "BYTES", "Memory soft limit"),
            value("memory-swap", None, "BYTES", "Memory and swap together: -1 for unlimited swap"),
            list("mount", None, "MOUNT", "Attach a filesystem mount: type=bind|volume|tmpfs,..."),
            value("name", None, "NAME", "Assign a name to the container"),
            list("network", None, "NETWORK", "Network of the container: none or host")
                .visible_alias("net"),
            switch("no-healthcheck", None, "Disable any container-specified HEALTHCHECK"),
            value("oom-score-adj", None, "NUMBER", "Tune host's OOM preferences (-1000 to 1000)"),
            value("pid", None, "MODE", "PID namespace to use: host"),
            value("pids-limit", None, "NUMBER", "Tune container pids limit (-1 for unlimited)"),
            value("platform", None, "PLATFORM", "Platform of the image where it has several"),
            switch("privileged", None, "Give extended privileges to this container"),
            value(
                "pull",
                None,
                "WHEN",
                "Pull image before creating (always, missing, never; default missing)",
            ),
            switch("quiet", Some('q'), "Suppress the pull output"),
            switch("read-only", None, "Mount the container's root filesystem as read only"),
            value("restart", None, "POLICY", "Restart policy to apply when a container exits"),
            switch(
                "rm",
                None,
                "Automatically remove the container and its anonymous volumes when it exits",
            ),
            list(
                "security-opt",
                None,
                "OPTION",
                "Security options: seccomp=FILE, no-new-privileges=false",
            ),
            value("shm-size", None, "BYTES", "Size of /dev/shm"),
            value("stop-signal", None, "SIGNAL", "Signal to stop the container"),
            value("stop-timeout", None, "SECONDS", "Timeout to stop the container"),
            list("tmpfs", None, "PATH[:OPTIONS]", "Mount a tmpfs directory"),
            switch("tty", Some('t'), "Allocate a pseudo-TTY"),
            list("ulimit", None, "NAME=SOFT[:HARD]", "Ulimit options"),
            value("user", Some('u'), "USER[:GROUP]", "User and group, by name or number"),
            value("userns", None, "MODE", "User namespace to use: host"),
            list(
                "volume",
                Some('v'),
                "[SOURCE:]PATH[:OPTIONS]",
                "Bind mount a directory or a volume",
            ),
            list("volumes-from", None, "CONTAINER[:ro]", "Mount volumes from other containers"),
            value("workdir", Some('w'), "PATH", "Working directory inside the container"),
        ])
        .arg(image_and_words())
}

/// Adds the options of `update`.
pub(crate) fn with_update_options(command: Command) -> Command {
    command.args([
        value("cpu-period", None, "MICROSECONDS", "Length of a CPU quota's period"),
        value("cpu-quota", None, "MICROSECONDS", "CPU time per period"),
        value("cpu-shares", Some('c'), "WEIGHT", "CPU shares (relative weight)"),
        value("cpus", None, "NUMBER", "Number of CPUs"),
        value("cpuset-cpus", None, "LIST", "CPUs in which to allow execution (0-3, 0,1)"),
        value("cpuset-mems", None, "LIST", "Memory nodes in which to allow execution (0-3, 0,1)"),
        value("memory", Some('m'), "BYTES", "Memory limit"),
        value("memory-reservation", None, "BYTES", "Memory soft limit"),
        value("memory-swap", None, "BYTES", "Memory and swap together: -1 for unlimited swap"),
        value("pids-limit", None, "NUMBER", "Tune container pids limit (-1 for unlimited)"),
        value("restart", None, "POLICY", "Restart policy to apply when a container exits"),
    ])
}

/// What `POST /containers/{id}/update` is asked for by `matches`; `None` if that is nothing.
///
/// # Errors
/// The option that makes no sense, with its value.
pub(crate) fn update_body(matches: &ArgMatches) -> Result<Option<ContainerUpdateBody>> {
    let owned = |name| text(matches, name).unwrap_or_default().to_owned();
    let size = |name| text(matches, name).map_or(Ok(0), |word| bytes(name, word));
    let integer = |name| text(matches, name).map_or(Ok(0), |word| number(name, word));
    let body = ContainerUpdateBody {
        restart_policy: match text(matches, "restart") {
            Some(_) => Some(restart(matches)?),
            None => None,
        },
        cpu_shares: integer("cpu-shares")?,
        memory: size("memory")?,
        nano_cpus: text(matches, "cpus").map_or(Ok(0), units::nano_cpus)?,
        cpu_period: integer("cpu-period")?,
        cpu_quota: integer("cpu-quota")?,
        cpuset_cpus: owned("cpuset-cpus"),
        cpuset_mems: owned("cpuset-mems"),
        memory_reservation: size("memory-reservation")?,
        memory_swap: memory_swap(matches)?,
        pids_limit: match text(matches, "pids-limit") {
            Some(word) => Some(number("pids-limit", word)?),
            None => None,
        },
        ..ContainerUpdateBody::default()
    };
    Ok((body != ContainerUpdateBody::default()).then_some(body))
}

fn memory_swap(matches: &ArgMatches) -> Result<i64> {
    match text(matches, "memory-swap") {
        Some("-1") => Ok(-1),
        Some(word) => bytes("memory-swap", word),
        None => Ok(0),
    }
}

/// What `POST /containers/create` is asked for by `matches`.
///
/// # Errors
/// The option that makes no sense, with its value.
pub(crate) fn create_body(matches: &ArgMatches) -> Result<ContainerCreateBody> {
    let mut words = texts(matches, "image").into_iter();
    let image = words.next().context("no image is named")?;
    let command: Vec<String> = words.collect();
    let policy = restart(matches)?;
    if is_set(matches, "rm") && !matches!(policy.name.as_str(), "" | "no") {
        bail!("conflicting options: cannot specify both --restart and --rm");
    }
    Ok(ContainerCreateBody {
        config: container_config(matches, image, command)?,
        host_config: host_config(matches)?,
        networking_config: None,
    })
}

fn container_config(
    matches: &ArgMatches,
    image: String,
    command: Vec<String>,
) -> Result<ContainerConfig> {
    let (stdin, stdout, stderr) = attached(matches)?;
    let interactive = is_set(matches, "interactive");
    let stop_timeout =
        text(matches, "stop-timeout").map(|word| number("stop-timeout", word)).transpose()?;
    let owned = |name| text(matches, name).unwrap_or_default().to_owned();
    let entrypoint = text(matches, "entrypoint").map(|program| {
        // Docker: an empty one takes the image's away.
        if program.is_empty() { vec![String::new()] } else { vec![program.to_owned()] }
    });
    let volumes = texts(matches, "volume");
    Ok(ContainerConfig {
        hostname: owned("hostname"),
        domainname: owned("domainname"),
        user: owned("user"),
        attach_stdin: stdin,
        attach_stdout: stdout,
        attach_stderr: stderr,
        tty: is_set(matches, "tty"),
        open_stdin: interactive,
        stdin_once: interactive && stdin,
        env: environment(&texts(matches, "env-file"), &texts(matches, "env"))?,
        cmd: (!command.is_empty()).then_some(command),
        image,
        volumes: volumes
            .into_iter()
            .filter(|text| !text.contains(':'))
            .map(|path| (path, Empty {}))
            .collect(),
        working_dir: owned("workdir"),
        entrypoint,
        labels: labels(&texts(matches, "label-file"), &texts(matches, "label"))?,
        healthcheck: health(matches)?,
        stop_signal: text(matches, "stop-signal").map(str::to_owned),
        stop_timeout,
        exposed_ports: texts(matches, "expose")
            .into_iter()
            .map(|port| (with_protocol(port), Empty {}))
            .collect(),
        ..ContainerConfig::default()
    })
}

fn with_protocol(port: String) -> String {
    if port.contains('/') { port } else { format!("{port}/tcp") }
}

fn host_config(matches: &ArgMatches) -> Result<HostConfig> {
    let owned = |name| text(matches, name).unwrap_or_default().to_owned();
    let size = |name| text(matches, name).map_or(Ok(0), |word| bytes(name, word));
    let integer = |name| text(matches, name).map_or(Ok(0), |word| number(name, word));
    let volumes = texts(matches, "volume");
    let mounts = texts(matches, "mount");
    let ulimits = texts(matches, "ulimit");
    let memory_swap = memory_swap(matches)?;
    let size_of_terminal = if is_set(matches, "tty") { terminal::size() } else { None };
    let console_size = size_of_terminal.map_or([0, 0], |(columns, rows)| [rows, columns]);
    Ok(HostConfig {
        binds: volumes
            .iter()
            .filter(|text| text.contains(':'))
            .map(|text| mount::bind(text))
            .collect::<Result<_>>()?,
        container_id_file: owned("cidfile"),
        log_config: log_config(matches)?,
        network_mode: network(matches)?,
        restart_policy: restart(matches)?,
        auto_remove: is_set(matches, "rm"),
        volumes_from: texts(matches, "volumes-from"),
        mounts: mounts.iter().map(|text| mount::parse(text)).collect::<Result<_>>()?,
        console_size,
        annotations: pairs("annotation", &texts(matches, "annotation"))?,
        cap_add: texts(matches, "cap-add"),
        cap_drop: texts(matches, "cap-drop"),
        dns: texts(matches, "dns"),
        dns_options: texts(matches, "dns-option"),
        dns_search: texts(matches, "dns-search"),
        extra_hosts: texts(matches, "add-host")
            .iter()
            .map(|word| host_entry(word))
            .collect::<Result<_>>()?,
        group_add: texts(matches, "group-add"),
        oom_score_adj: integer("oom-score-adj")?
            .try_into()
            .context("--oom-score-adj is -1000 to 1000")?,
        pid_mode: owned("pid"),
        privileged: is_set(matches, "privileged"),
        readonly_rootfs: is_set(matches, "read-only"),
        security_opt: texts(matches, "security-opt")
            .iter()
            .map(|text| security_option(text))
            .collect::<Result<_>>()?,
        tmpfs: texts(matches, "tmpfs").iter().map(|text| mount::tmpfs(text)).collect(),
        userns_mode: owned("userns"),
        shm_size: size("shm-size")?,
        init: matches.get_one::<bool>("init").copied(),
        cpu_shares: integer("cpu-shares")?,
        memory: size("memory")?,
        nano_cpus: text(matches, "cpus").map_or(Ok(0), units::nano_cpus)?,
        cpu_period: integer("cpu-period")?,
        cpu_quota: integer("cpu-quota")?,
        cpuset_cpus: owned("cpuset-cpus"),
        cpuset_mems: owned("cpuset-mems"),
        memory_reservation: size("memory-reservation")?,
        memory_swap,
        pids_limit: text(matches, "pids-limit")
            .map(|word| number("pids-limit", word))
            .transpose()?,
        ulimits: ulimits.iter().map(|text| ulimit(text)).collect::<Result<_>>()?,
        ..HostConfig::default()
    })
}

/// Which of stdin, stdout and stderr the command is connected to.
fn attached(matches: &ArgMatches) -> Result<(bool, bool, bool)> {
    let named = texts(matches, "attach");
    let detach = matches.try_get_one::<bool>("detach").ok().flatten().copied().unwrap_or(false);
    if named.is_empty() {
        return Ok((is_set(matches, "interactive") && !detach, !detach, !detach));
    }
    if detach {
        bail!("Conflicting options: -a and -d");
    }
    let mut streams = (false, false, false);
    for name in named {
        match name.to_ascii_lowercase().as_str() {
            "stdin" => streams.0 = true,
            "stdout" => streams.1 = true,
            "stderr" => streams.2 = true,
            _ => bail!(
                "invalid argument {name:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
            ),
        }
    }
    Ok(streams)
}

fn number(option: &str, word: &str) -> Result<i64> {
    word.parse()
        .ok()
        .with_context(|| format!("invalid argument {word:?} for \"--{option}\" flag: strconv.ParseInt: parsing {word:?}: invalid syntax"))
}

/// The variables of files, then those of the command line. A name alone takes the value of this
/// command's own environment, and is left out where there is none.
pub(crate) fn environment(files: &[String], words: &[String]) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for line in lines_of(files)? {
        variables.extend(variable(line.trim_start().to_owned())?);
    }
    for word in words {
        variables.extend(variable(word.clone())?);
    }
    Ok(variables)
}

fn variable(word: String) -> Result<Option<String>> {
    let name = word.split('=').next().unwrap_or_default();
    if name.is_empty() || name.contains(char::is_whitespace) {
        bail!("invalid environment variable: {word:?}");
    }
    if word.contains('=') {
        return Ok(Some(word));
    }
    Ok(std::env::var(&word).ok().map(|value| format!("{word}={value}")))
}

fn labels(files: &[String], words: &[String]) -> Result<BTreeMap<String, String>> {
    let mut all = lines_of(files)?;
    all.extend(words.iter().cloned());
    pairs("label", &all)
}

pub(crate) fn pairs(option: &str, words: &[String]) -> Result<BTreeMap<String, String>> {
    words
        .iter()
        .map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if name.is_empty() {
                bail!("invalid argument {word:?} for \"--{option}\" flag: it has no name");
            }
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Lines of files that are neither empty nor comments.
fn lines_of(files: &[String]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let wanted = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        lines.extend(text.lines().filter(wanted).map(str::to_owned));
    }
    Ok(lines)
}

fn log_config(matches: &ArgMatches) -> Result<LogConfig> {
    Ok(LogConfig {
        driver: text(matches, "log-driver").unwrap_or_default().to_owned(),
        config: pairs("log-opt", &texts(matches, "log-opt"))?,
    })
}

fn network(matches: &ArgMatches) -> Result<String> {
    match texts(matches, "network").as_slice() {
        [] => Ok("default".to_owned()),
        [one] => Ok(one.clone()),
        _ => bail!("a container has one network here: --network is given more than once"),
    }
}

fn restart(matches: &ArgMatches) -> Result<hull_api::RestartPolicy> {
    let Some(text) = text(matches, "restart") else {
        return Ok(hull_api::RestartPolicy::default());
    };
    let (name, count) = match text.split_once(':') {
        Some(("", _)) => {
            bail!("invalid restart policy format: no policy provided before colon")
        }
        Some((name, count)) => match count.parse() {
            Ok(count) => (name, count),
            Err(_) => {
                bail!("invalid restart policy format: maximum retry count must be an integer")
            }
        },
        None => (text, 0),
    };
    Ok(hull_api::RestartPolicy { name: name.to_owned(), maximum_retry_count: count })
}

fn health(matches: &ArgMatches) -> Result<Option<Healthcheck>> {
    let command = text(matches, "health-cmd").unwrap_or_default();
    let time = |name| text(matches, name).map_or(Ok(0), |word| units::nanoseconds(name, word));
    let health = Healthcheck {
        test: match command {
            "" => Vec::new(),
            command => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        interval: time("health-interval")?,
        timeout: time("health-timeout")?,
        start_period: time("health-start-period")?,
        start_interval: time("health-start-interval")?,
        retries: text(matches, "health-retries")
            .map_or(Ok(0), |word| number("health-retries", word))?,
    };
    let wanted = health != Healthcheck::default();
    if is_set(matches, "no-healthcheck") {
        if wanted {
            bail!("--no-healthcheck conflicts with --health-* options");
        }
        return Ok(Some(Healthcheck { test: vec!["NONE".to_owned()], ..health }));
    }
    for (name, value) in [
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("retries", health.retries),
        ("start-period", health.start_period),
        ("start-interval", health.start_interval),
    ] {
        if value < 0 {
            bail!("--health-{name} cannot be negative");
        }
    }
    Ok(wanted.then_some(health))
}

/// Docker takes `host=address` and `host:address`.
pub(crate) fn host_entry(word: &str) -> Result<String> {
    let Some(at) = word.find(['=', ':']) else {
        bail!("bad format for add-host: {word:?}");
    };
    let (host, address) = (&word[..at], &word[at + 1..]);
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty()
        || (address.parse::<std::net::IpAddr>().is_err() && address != "host-gateway")
    {
        bail!("invalid IP address in add-host: {address:?}");
    }
    Ok(format!("{host}:{address}"))
}

/// A seccomp profile travels as its text: the engine may be on another machine.
fn security_option(option: &str) -> Result<String> {
    let Some((key @ "seccomp", file)) = option.split_once(['=', ':']) else {
        return Ok(option.to_owned());
    };
    if matches!(file, "unconfined" | "builtin" | "default") {
        return Ok(format!("{key}={file}"));
    }
    let profile = fs::read_to_string(Path::new(file))
        .with_context(|| format!("opening seccomp profile ({file}) failed"))?;
    let value: serde_json::Value = serde_json::from_str(&profile)
        .with_context(|| format!("compacting json for seccomp profile ({file}) failed"))?;
    Ok(format!("{key}={value}"))
}

pub(crate) fn ulimit(option: &str) -> Result<Ulimit> {
    let bad = || format!("invalid ulimit argument: {option}");
    let (name, limits) = option.split_once('=').with_context(bad)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let limit = |word: &str| if word == "unlimited" { Ok(-1) } else { word.parse::<i64>() };
    let (soft, hard) = (limit(soft).with_context(bad)?, limit(hard).with_context(bad)?);
    if hard != -1 && (soft > hard || soft == -1) {
        bail!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}");
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests;
