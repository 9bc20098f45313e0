//! The registries that are pulled from.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::text;
use crate::run;

/// A registry that listens on loopback. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    words: Vec<String>,
    address: SocketAddr,
    /// Everything it keeps.
    storage: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Both: Debian's `docker-registry`, where it is installed, and Hull's.
    pub(super) fn start_each(programs: &Path, folder: &Path) -> Result<Vec<Self>> {
        let mut servers = Vec::new();
        if run::present("docker-registry") {
            servers.push(Self::docker_registry(folder)?);
        } else {
            println!("docker-registry: not present, left out");
        }
        servers.push(Self::hull(programs, folder)?);
        Ok(servers)
    }

    fn docker_registry(folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let storage = folder.join("docker-registry");
        let config = folder.join("docker-registry.yml");
        let lines = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n\
             http: {{ addr: '{address}' }}\n",
            storage.display()
        );
        fs::write(&config, lines)?;
        let words = ["docker-registry", "serve", text(&config)?];
        Self::start("docker-registry", &words, address, storage)
    }

    fn hull(programs: &Path, folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let storage = folder.join("hull");
        let (data, state) = (storage.join("data"), storage.join("run"));
        let (program, listen) = (programs.join("hull"), address.to_string());
        let roots = ["--data-root", text(&data)?, "--exec-root", text(&state)?];
        let serve = ["registry", "serve", "--addr", &listen];
        let words = [&[text(&program)?], &roots[..], &serve[..]].concat();
        Self::start("hull registry serve", &words, address, storage)
    }

    fn start(
        name: &'static str,
        words: &[&str],
        address: SocketAddr,
        storage: PathBuf,
    ) -> Result<Self> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let mut server = Self { name, words, address, storage, child: None };
        server.start_empty()?;
        Ok(server)
    }

    /// Ends it, throws away what it has and starts it again.
    pub(super) fn start_empty(&mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(20);
        self.end()?;
        if self.storage.is_dir() {
            fs::remove_dir_all(&self.storage)?;
        }
        fs::create_dir_all(&self.storage)?;
        let child = Command::new(&self.words[0])
            .args(&self.words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        self.child = Some(child);
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if begin.elapsed() > PATIENCE {
                bail!("{} does not listen on {}", self.name, self.address);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        child.wait()?;
        Ok(())
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The reference of an image there.
    pub(super) fn image(&self, repository: &str) -> String {
        format!("{}/bench/{repository}:1", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{}: cannot be ended: {error:#}", self.name);
        }
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
