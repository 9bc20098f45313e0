//! Other engines, in a root of their own.

use std::process::Command;

use crate::busybox::{base_tar, static_busybox};
use crate::{Hull, needs};

/// The words that run a command where the peers are.
#[derive(Debug)]
pub struct Peers(Vec<String>);

impl Peers {
    /// A Hull, the peers, and the test's folder as it is named where they are. It holds `root.tar`,
    /// the root file system of a busybox image. `None` (and said so) but in a full run with peers.
    pub fn beside_hull() -> Option<(Hull, Self, String)> {
        if !needs::full() {
            return None;
        }
        let peers = Self(needs::peers()?);
        let hull = Hull::new()?;
        let busybox = std::fs::read(static_busybox()?).ok()?;
        let tar = base_tar().file("bin/busybox", 0o755, &busybox).symlink("bin/sh", "busybox");
        hull.file("root.tar", &tar.finish());
        let inside = hull.folder().strip_prefix("/tmp").ok()?.display().to_string();
        Some((hull, peers, format!("/host/{inside}")))
    }

    /// Runs a shell script where they are; what it printed, without white space around it.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        let mut command = Command::new(&self.0[0]);
        let output = command.args(&self.0[1..]).args(["bash", "-c", script]).output();
        let output = output.expect("the peers' program starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The same in `folder`, with a dockerd of the script's own that `docker` reaches.
    #[track_caller]
    pub fn run_with_docker(&self, folder: &str, script: &str) -> String {
        self.run(&format!(
            "set -e; cd {folder}; mkdir -p docker exec home; export HOME=$PWD/home
             dockerd --data-root $PWD/docker --exec-root $PWD/exec -H unix://$PWD/docker.sock \
                 --pidfile $PWD/pid --bridge none --iptables=false --ip6tables=false >log 2>&1 &
             daemon=$!
             trap 'kill $daemon; wait $daemon || true; umount -R docker 2>/dev/null || true' EXIT
             export DOCKER_HOST=unix://$PWD/docker.sock
             for n in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.2; done
             {script}"
        ))
    }
}
