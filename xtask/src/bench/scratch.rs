//! Where the engines under test keep what they have.
//!
//! A fresh ext4 with a journal, on a file: what a host has. On a file system without one, ext4
//! looks for inodes that were not deleted a moment ago, so that each run is slower than the one
//! before it, for those engines that make and delete files.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::run::{output, run};

/// Sparse: it takes what is written.
const SIZE: &str = "16G";

/// A mounted file system that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: TempDir,
    image: TempDir,
}

impl Scratch {
    pub(crate) fn make() -> Result<Self> {
        let folder = |prefix| tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp");
        let scratch = Self { folder: folder("hull-bench")?, image: folder("hull-bench-image")? };
        let image = scratch.image.path().join("ext4");
        run(Command::new("truncate").args(["-s", SIZE]).arg(&image))?;
        run(Command::new("mkfs.ext4").args(["-q", "-O", "has_journal"]).arg(&image))
            .context("the benchmark's file system cannot be made")?;
        // Without direct I/O a thread of the kernel would copy everything that reaches the disk into
        // a second page cache, with a processor's time that no disk takes.
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--direct-io=on"]).arg(&image);
        let device = output(&mut losetup)?;
        let device = device.trim();
        let mounted = run(Command::new("mount").arg(device).arg(scratch.path()));
        // Busy, it goes with the last who has it mounted.
        run(Command::new("losetup").args(["--detach", device]))?;
        mounted?;
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Lazily: an engine that ends may hold it for a moment longer.
        let unmounted = run(Command::new("umount").arg("--lazy").arg(self.path()));
        if let Err(error) = unmounted {
            eprintln!("{}: {error:#}", self.path().display());
        }
    }
}
