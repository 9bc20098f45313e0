//! A container's record as the sandbox's description.

use super::host;
use super::merge::{command_line, environment};
use super::mounts::Source;
use super::stored::Container;
use crate::error::ApiError;
use hull_api::{ContainerConfig, HostConfig};
use hull_sandbox::spec::{
    Mount, MountSource, Network, Process, Resources, Rootfs, Spec, SuppliedFile, UserNamespace,
};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Describes the sandbox of a container. The mounts' trees are numbered in the order of
/// [`trees`].
///
/// # Errors
/// Those of the checks that were made when it was created.
pub(crate) fn spec(container: &Container) -> Result<Spec, ApiError> {
    let stored = &container.stored;
    let (config, host) = (&stored.config, &stored.host);
    let hostname = hostname(container);
    let security = host::security(host)?;
    let userns = if host::host_userns(host) {
        UserNamespace::Host
    } else {
        UserNamespace::Private { size: stored.ids }
    };
    Ok(Spec {
        id: container.record.id.clone(),
        process: process(config, host, &hostname, security.no_new_privileges)?,
        rootfs: Rootfs { readonly: host.readonly_rootfs, volatile: host.auto_remove },
        userns,
        network: host::network(host),
        mounts: mounts(container),
        files: files(host, &hostname)?,
        shm_size: u64::try_from(host.shm_size).unwrap_or_default(),
        privileged: host.privileged,
        masked_paths: host.masked_paths.clone().unwrap_or_default(),
        readonly_paths: host.readonly_paths.clone().unwrap_or_default(),
        resources: resources(host),
        init: host.init.unwrap_or_default(),
        seccomp: security.seccomp,
        oom_score_adj: host.oom_score_adj,
        hostname,
        domainname: config.domainname.clone(),
    })
}

/// The host name that holds: with the host's network the host's own.
#[must_use]
pub(crate) fn hostname(container: &Container) -> String {
    let config = &container.stored.config;
    if !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    if host::network(&container.stored.host) == Network::Host {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    container.record.id.chars().take(12).collect()
}

fn process(
    config: &ContainerConfig,
    host: &HostConfig,
    hostname: &str,
    no_new_privileges: bool,
) -> Result<Process, ApiError> {
    let [rows, columns] = host.console_size;
    let capabilities = host::capabilities(host)?;
    Ok(Process {
        args: command_line(config),
        env: base_environment(config, hostname),
        cwd: working_directory(&config.working_dir),
        user: config.user.clone(),
        additional_groups: host.group_add.clone(),
        terminal: config.tty,
        terminal_size: (config.tty && rows > 0 && columns > 0).then_some((columns, rows)),
        capabilities: capabilities.iter().map(|capability| capability.name().to_owned()).collect(),
        no_new_privileges,
        rlimits: host::rlimits(host)?,
    })
}

/// Environment of the first process, and what an exec starts from.
#[must_use]
pub(crate) fn base_environment(config: &ContainerConfig, hostname: &str) -> Vec<String> {
    let mut base = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        base.push("TERM=xterm".to_owned());
    }
    environment(base, &config.env)
}

/// The working directory, `/` where nothing is said.
#[must_use]
pub(crate) fn working_directory(text: &str) -> String {
    if text.is_empty() { "/".to_owned() } else { text.to_owned() }
}

fn mounts(container: &Container) -> Vec<Mount> {
    let mut trees = 0..;
    let mut tree = |shown: &str, idmap: bool| MountSource::Tree {
        tree: trees.next().unwrap_or_default(),
        idmap,
        shown: shown.to_owned(),
    };
    let source = |source: &Source| match source {
        Source::Bind { path, .. } => tree(path, !is_of_the_kernel(path)),
        Source::Volume { name, .. } => tree(name, true),
        Source::Tmpfs { size, mode, exec } => {
            MountSource::Tmpfs { size: *size, mode: *mode, exec: *exec }
        }
    };
    let sources: Vec<_> =
        container.stored.mounts.iter().map(|mount| &mount.source).map(source).collect();
    std::iter::zip(&container.stored.mounts, sources)
        .map(|(mount, source)| Mount {
            destination: mount.destination.clone(),
            source,
            readonly: mount.readonly,
        })
        .collect()
}

/// Trees whose owners cannot be translated.
fn is_of_the_kernel(path: &str) -> bool {
    ["/dev", "/proc", "/sys"].iter().any(|root| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The limits of a checked configuration.
#[must_use]
pub(crate) fn resources(host: &HostConfig) -> Resources {
    let said = |value: i64| u64::try_from(value).ok().filter(|&value| value > 0);
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Resources {
        memory: said(host.memory),
        memory_swap: Some(host.memory_swap).filter(|&bytes| bytes != 0),
        memory_reservation: said(host.memory_reservation),
        nano_cpus: said(host.nano_cpus),
        cpu_quota: Some(host.cpu_quota).filter(|&quota| quota != 0),
        cpu_period: said(host.cpu_period),
        cpu_shares: said(host.cpu_shares),
        cpuset_cpus: text(&host.cpuset_cpus),
        cpuset_mems: text(&host.cpuset_mems),
        pids_limit: host.pids_limit.filter(|&pids| pids != 0),
    }
}

fn files(host: &HostConfig, hostname: &str) -> Result<Vec<SuppliedFile>, ApiError> {
    let file = |path: &str, content: String| SuppliedFile { path: path.to_owned(), content };
    let on_host = host::network(host) == Network::Host;
    Ok(vec![
        file("/etc/hosts", hosts(host, hostname, on_host)?),
        file("/etc/hostname", format!("{hostname}\n")),
        file("/etc/resolv.conf", resolv_conf(host, on_host)),
    ])
}

fn hosts(host: &HostConfig, hostname: &str, on_host: bool) -> Result<String, ApiError> {
    let mut text = if on_host {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n127.0.0.1\t{hostname}\n"
        )
    };
    for entry in &host.extra_hosts {
        let (name, address) = entry.split_once([':', '=']).unwrap_or((entry, ""));
        let parsed = address.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        let bad_name = name.is_empty() || name.contains(char::is_whitespace);
        let (false, Ok(address)) = (bad_name, parsed) else {
            return Err(ApiError::invalid(format!("bad format for add-host: {entry:?}")));
        };
        text.push_str(&format!("{address}\t{name}\n"));
    }
    Ok(text)
}

/// With the host's network the host's resolver; without a network only what the client names.
fn resolv_conf(host: &HostConfig, on_host: bool) -> String {
    let nothing_said =
        host.dns.is_empty() && host.dns_search.is_empty() && host.dns_options.is_empty();
    if on_host && nothing_said {
        return std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    }
    let mut lines: Vec<String> =
        host.dns.iter().map(|server| format!("nameserver {server}")).collect();
    if !host.dns_search.is_empty() {
        lines.push(format!("search {}", host.dns_search.join(" ")));
    }
    if !host.dns_options.is_empty() {
        lines.push(format!("options {}", host.dns_options.join(" ")));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
