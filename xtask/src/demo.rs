//! `cargo xtask demo`: from source to a container that shows its own walls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{is_root, output, run};
use crate::{build, run as task};

pub(crate) fn demo() -> Result<()> {
    if !is_root() {
        bail!("the demo makes namespaces and mounts: run it as root");
    }
    println!("== building Hull");
    let programs = build::release()?;
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let engine = Engine { program: programs.join("hull"), folder: scratch.path().to_owned() };
    let result = engine.show(&programs);
    let cleaned = engine.clean();
    result.and(cleaned)
}

/// The built `hull` with a store of its own in a scratch folder.
struct Engine {
    program: PathBuf,
    folder: PathBuf,
}

impl Engine {
    fn hull(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("HULL_DATA_ROOT", self.folder.join("data"))
            .env("HULL_EXEC_ROOT", self.folder.join("run"))
            .args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        println!("\n$ hull {}", words.join(" "));
        run(&mut self.hull(words))
    }

    fn show(&self, programs: &Path) -> Result<()> {
        println!("\n== making a root file system: the probe, and busybox where it is installed");
        let busybox = self.root_tar(&programs.join("hull-probe"))?;
        let tar = self.folder.join("root.tar");
        let tar = tar.to_str().context("the temporary folder's name is not text")?;
        self.run(&["import", "--change", "CMD [\"/probe\"]", tar, "demo"])?;
        self.run(&["images"])?;

        println!("\n== what a container sees of itself: ids, capabilities, mounts, seccomp");
        self.run(&["run", "--rm", "demo"])?;

        if busybox {
            println!("\n== a shell's view");
            self.run(&[
                "run",
                "--rm",
                "demo",
                "/bin/sh",
                "-c",
                "id; hostname; ps; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status",
            ])?;
            println!("\n== a detached container, memory limited: exec, logs, stop");
            self.run(&[
                "run",
                "-d",
                "--name",
                "ticker",
                "--memory",
                "64m",
                "--pids-limit",
                "50",
                "demo",
                "/bin/sh",
                "-c",
                "while :; do date; sleep 1; done",
            ])?;
            self.run(&["exec", "ticker", "/bin/sh", "-c", "cat /proc/self/uid_map"])?;
            self.run(&["ps"])?;
            self.run(&["logs", "ticker"])?;
            self.run(&["stop", "--time", "1", "ticker"])?;
            self.run(&["rm", "ticker"])?;
        } else {
            println!("\n(install busybox-static to see a shell in a container as well)");
        }
        self.run(&["system", "df"])?;
        self.run(&["system", "check", "--deep"])
    }

    /// Writes `root.tar`; returns whether busybox is in it.
    fn root_tar(&self, probe: &Path) -> Result<bool> {
        let root = self.folder.join("root");
        for folder in ["bin", "etc", "tmp"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::copy(probe, root.join("probe"))?;
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\n")?;
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new);
        let found = busybox.into_iter().find(|path| path.is_file());
        if let Some(from) = found {
            fs::copy(from, root.join("bin/busybox"))?;
            for name in ["sh", "cat", "date", "grep", "hostname", "id", "ls", "ps", "sleep"] {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
            }
        }
        // The one foreign program of the demo: an archive as anybody would make it.
        output(Command::new("tar").current_dir(&root).args([
            "--owner=0",
            "--group=0",
            "-cf",
            "../root.tar",
            ".",
        ]))?;
        Ok(found.is_some())
    }

    fn clean(&self) -> Result<()> {
        println!("\n== cleaning up");
        task::run(&mut self.hull(&["system", "prune", "--all", "--volumes", "--force"]))?;
        let layers = self.folder.join("run/layers");
        if layers.is_dir() {
            // The private mount that held the layers; nothing is mounted below it any more.
            rustix::mount::unmount(&layers, rustix::mount::UnmountFlags::DETACH)?;
        }
        Ok(())
    }
}
