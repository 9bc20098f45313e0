//! `RUN`: a sandbox on the tree of the stage.
//!
//! The sandbox is a container's: ids of its own, no new privileges, the default capabilities and
//! system calls. Until there are networks for builds it has the host's network, over which it has
//! no power (the network belongs to another user namespace), or none. Of `/sys` it then sees only
//! what tells the number of processors.
//!
//! What has to be there to mount on (`/proc`, `/etc/hosts`, targets of `--mount`) lies in a tree of
//! its own below all layers, so that nothing of it gets into a layer and nothing has to be removed
//! afterwards.

use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};

use hull_api::{ErrorKind, HostConfig};
use hull_builder::instruction::{Network as RunNetwork, Security};
use hull_builder::plan::RunStep;
use hull_sandbox::spec::{
    Network, Process, Resources, Rootfs, Seccomp, Spec, SuppliedFile, UserNamespace,
};
use hull_shim::client::{StartDescriptors, Steps};
use hull_shim::protocol::{Exit, RestartPolicy, StartRequest, VERSION};
use hull_store::cache::Scratch;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::chain::Chain;
use super::job::Build;
use super::key::Inputs;
use super::mounts::{Mounted, Mounts};
use super::progress::{Activity, Stopper};
use crate::containers::host;
use crate::error::ApiError;

/// The name builds see as their host's.
const HOSTNAME: &str = "buildkitsandbox";

/// Bytes of `/dev/shm`.
const SHM_SIZE: u64 = 64 << 20;

/// Ids that every sandbox gets.
const MIN_IDS: u32 = 65536;

/// Where something is always mounted, and whether it is a directory.
const PLACES: [(&str, bool); 6] = [
    ("/proc", true),
    ("/sys", true),
    ("/dev", true),
    ("/etc/hosts", false),
    ("/etc/hostname", false),
    ("/etc/resolv.conf", false),
];

/// A `RUN` whose mounts are known.
pub(super) struct Run<'s> {
    step: &'s RunStep,
    mounts: Mounts<'s>,
    network: Network,
}

/// Why a command did not succeed.
pub(super) enum RunError {
    /// It ran, and ended with this.
    Exit(Exit),
    /// It did not run.
    Other(ApiError),
}

impl From<ApiError> for RunError {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl<'s> Run<'s> {
    /// Looks at what it asks for, and adds what the result depends on to `inputs`.
    pub(super) fn prepare(
        build: &Build<'_>,
        step: &'s RunStep,
        inputs: &mut Inputs,
    ) -> Result<Self, ApiError> {
        let allow = &build.request.allow;
        let granted = |what: &str| allow.iter().any(|allowed| allowed == what);
        let denied = |what: &str| {
            ApiError::new(ErrorKind::Denied, format!("{what} is not allowed"))
                .hint(format!("allow it with --allow {what}"))
        };
        if step.security == Security::Insecure && !granted("security.insecure") {
            return Err(denied("security.insecure"));
        }
        let network = match (step.network, build.request.network.as_str()) {
            (RunNetwork::None, _) | (RunNetwork::Default, "none") => Network::None,
            (RunNetwork::Default, "" | "default" | "host") | (RunNetwork::Host, "host") => {
                Network::Host
            }
            (RunNetwork::Host, _) if granted("network.host") => Network::Host,
            (RunNetwork::Host, _) => return Err(denied("network.host")),
            (RunNetwork::Default, other) => {
                return Err(ApiError::invalid(format!("a build cannot use network {other:?}"))
                    .hint("use host or none"));
            }
        };
        if let Some(device) = step.devices.first() {
            return Err(ApiError::new(
                ErrorKind::Unavailable,
                format!("cannot give device {device} to a RUN: devices are not supported"),
            ));
        }
        inputs.add("the instruction", "RUN");
        inputs.add("the command", step.args.join("\0"));
        for (name, value) in &step.env {
            inputs.add_hidden(format!("variable {name}"), value);
        }
        inputs.add("the working directory", &step.cwd);
        inputs.add("the user", &step.user);
        inputs.add("the network", format!("{network:?}"));
        inputs.add("the confinement", format!("{:?}", step.security));
        let mounts = Mounts::prepare(build, &step.mounts, step.script.as_ref(), inputs)?;
        Ok(Self { step, mounts, network })
    }

    /// Runs it onto `chain`; its output goes to `activity`.
    pub(super) fn run(
        &self,
        build: &Build<'_>,
        shim: &mut Option<Steps>,
        chain: &Chain,
        activity: &Activity<'_>,
    ) -> Result<Scratch, RunError> {
        let mounted = self.mounts.mount(build)?;
        let scratch = build.area.scratch().map_err(ApiError::from)?;
        let mut layers = chain.trees(build.store)?;
        layers.push(self.places(build)?);
        let spec = self.spec(build, chain, &mounted)?;
        let (stdout, stderr) = (pipe()?, pipe()?);
        let request = request(spec, &layers, &mounted);
        let steps = match shim.take() {
            Some(steps) => steps,
            None => {
                let program = build.engine.helper("hull-shim")?;
                Steps::spawn(&program).map_err(ApiError::from)?
            }
        };
        let stopper = steps.stopper().map_err(|error| ApiError::internal(&error))?;
        let number = build.progress.stop_by(Stopper::Steps(stopper));
        let permit = build.permits.take();
        let descriptors = StartDescriptors {
            container: scratch.directory.as_fd(),
            run: scratch.directory.as_fd(),
            data_root: scratch.directory.as_fd(),
            id_ranges: build.id_ranges.as_fd(),
            layers: layers.iter().map(AsFd::as_fd).collect(),
            upper: Some((scratch.upper.upper.as_fd(), scratch.upper.work.as_fd())),
            trees: mounted.trees.iter().map(AsFd::as_fd).collect(),
            attaches: vec![stdout.1.as_fd(), stderr.1.as_fd()],
        };
        let begun = steps.begin(&request, &descriptors);
        drop(descriptors);
        drop((stdout.1, stderr.1, layers));
        let ended = begun.map_err(ApiError::from).and_then(|()| {
            stream([stdout.0, stderr.0], activity)?;
            steps.wait().map_err(|error| ApiError::internal(&error).context("a step was lost"))
        });
        drop(permit);
        build.progress.forget(number);
        build.progress.check()?;
        let exit = ended?;
        *shim = Some(steps);
        if exit.code == 0 { Ok(scratch) } else { Err(RunError::Exit(exit)) }
    }

    /// Absolute paths where the engine mounts something.
    pub(super) fn stubs(&self, build: &Build<'_>) -> Vec<String> {
        let own = PLACES.iter().map(|(path, _)| (*path).to_owned());
        own.chain(self.mounts.targets(build).into_iter().map(|(path, _)| path)).collect()
    }

    /// A tree that has what is mounted on.
    fn places(&self, build: &Build<'_>) -> Result<OwnedFd, ApiError> {
        let directory = build.area.directory()?;
        let fail = |path: &str, error: Errno| {
            ApiError::internal(&std::io::Error::from(error))
                .context(&format!("cannot make a place to mount {path}"))
        };
        let make = |path: &str, is_directory: bool| {
            let kind = if is_directory { FileType::Directory } else { FileType::RegularFile };
            let made = match kind {
                FileType::Directory => {
                    rustix::fs::mkdirat(&directory, path, Mode::from_raw_mode(0o755))
                }
                kind => rustix::fs::mknodat(&directory, path, kind, Mode::from_raw_mode(0o644), 0),
            };
            match made {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(fail(path, error)),
            }
        };
        let own = PLACES.iter().map(|(path, directory)| ((*path).to_owned(), *directory));
        for (path, is_directory) in own.chain(self.mounts.targets(build)) {
            let path = path.trim_matches('/');
            for (end, _) in path.match_indices('/') {
                make(&path[..end], true)?;
            }
            make(path, is_directory)?;
        }
        Ok(directory)
    }

    fn spec(&self, build: &Build<'_>, chain: &Chain, mounted: &Mounted) -> Result<Spec, ApiError> {
        let insecure = self.step.security == Security::Insecure;
        let config = host::check(
            HostConfig {
                privileged: insecure,
                network_mode: "none".to_owned(),
                ulimits: build.request.ulimits.clone(),
                ..HostConfig::default()
            },
            host::cpus,
        )?;
        let security = host::security(&config)?;
        let capabilities = host::capabilities(&config)?;
        let named = |name: &str| self.step.env.iter().any(|(known, _)| known == name);
        let proxy = self.step.proxy.iter().filter(|(name, _)| !named(name));
        let env = self.step.env.iter().chain(proxy).chain(&mounted.env);
        let shm_size = match build.request.shm_size {
            0 => SHM_SIZE,
            size => size,
        };
        Ok(Spec {
            id: crate::containers::random_id()?,
            process: Process {
                args: self.args(),
                env: env.map(|(name, value)| format!("{name}={value}")).collect(),
                cwd: self.step.cwd.clone(),
                user: self.step.user.clone(),
                additional_groups: Vec::new(),
                terminal: false,
                terminal_size: None,
                capabilities: capabilities.iter().map(|one| one.name().to_owned()).collect(),
                no_new_privileges: security.no_new_privileges,
                rlimits: host::rlimits(&config)?,
            },
            hostname: HOSTNAME.to_owned(),
            domainname: String::new(),
            rootfs: Rootfs { readonly: false, volatile: true },
            userns: match insecure {
                true => UserNamespace::Host,
                false => UserNamespace::Private { size: chain.ids().max(MIN_IDS) },
            },
            network: self.network,
            mounts: mounted.mounts.clone(),
            files: files(&build.request.add_hosts, self.network)?,
            shm_size,
            privileged: insecure,
            masked_paths: config.masked_paths.unwrap_or_default(),
            readonly_paths: config.readonly_paths.unwrap_or_default(),
            resources: Resources::default(),
            init: false,
            seccomp: if insecure { Seccomp::Unconfined } else { security.seccomp },
            oom_score_adj: 0,
        })
    }

    fn args(&self) -> Vec<String> {
        match &self.step.script {
            Some(script) => vec![format!("/dev/pipes/{}", script.name)],
            None => self.step.args.clone(),
        }
    }
}

fn request(spec: Spec, layers: &[OwnedFd], mounted: &Mounted) -> StartRequest {
    StartRequest {
        version: VERSION,
        spec,
        log: hull_shim::protocol::LogConfig::default(),
        auto_remove: None,
        restart: RestartPolicy::No,
        health: None,
        open_stdin: false,
        stdin_once: false,
        layers: layers.len(),
        upper: true,
        trees: mounted.trees.len(),
        volumes: Vec::new(),
        events: None,
        attaches: vec![hull_shim::protocol::AttachOptions::default(); 2],
        step: true,
    }
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
fn files(extra: &[String], network: Network) -> Result<Vec<SuppliedFile>, ApiError> {
    let file = |path: &str, content: String| SuppliedFile { path: path.to_owned(), content };
    let mut hosts =
        format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for entry in extra {
        let (name, address) = entry.split_once(['=', ':']).unwrap_or((entry, ""));
        let parsed = address.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        let bad_name = name.is_empty() || name.contains(char::is_whitespace);
        let (false, Ok(address)) = (bad_name, parsed) else {
            return Err(ApiError::invalid(format!("bad format for add-host: {entry:?}")));
        };
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    let resolver = match network {
        Network::Host => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        Network::None => String::new(),
    };
    Ok(vec![
        file("/etc/hosts", hosts),
        file("/etc/hostname", format!("{HOSTNAME}\n")),
        file("/etc/resolv.conf", resolver),
    ])
}

fn pipe() -> Result<(PipeReader, OwnedFd), ApiError> {
    let (reader, writer) = std::io::pipe().map_err(|error| ApiError::internal(&error))?;
    Ok((reader, writer.into()))
}

/// Hands on what is written to both pipes until nobody can write to them any more.
fn stream(pipes: [PipeReader; 2], activity: &Activity<'_>) -> Result<(), ApiError> {
    let failed =
        |error: std::io::Error| ApiError::internal(&error).context("cannot read the output");
    let mut open: Vec<(i64, PipeReader)> = std::iter::zip(1.., pipes).collect();
    let mut buffer = vec![0; 32 << 10];
    while !open.is_empty() {
        let mut events: Vec<_> =
            open.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)).collect();
        match poll(&mut events, None) {
            Err(Errno::INTR) => continue,
            polled => polled.map_err(|error| failed(error.into()))?,
        };
        let ready: Vec<bool> = events.iter().map(|event| !event.revents().is_empty()).collect();
        drop(events);
        let mut ended = Vec::new();
        for (index, (stream, pipe)) in open.iter_mut().enumerate() {
            if !ready[index] {
                continue;
            }
            match pipe.read(&mut buffer) {
                Ok(0) => ended.push(index),
                Ok(count) => activity.log(*stream, &buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        for index in ended.into_iter().rev() {
            open.remove(index);
        }
    }
    Ok(())
}

/// A failed start, as a build tells it.
pub(super) fn describe(args: &[String], exit: &Exit) -> String {
    let what = format!("process {:?} did not complete successfully", args.join(" "));
    if exit.oom_killed {
        return format!("{what}: it was killed for want of memory");
    }
    format!("{what}: exit code: {}", exit.code)
}
