//! `cargo xtask guest`: the release programs in a virtual machine with another kernel, whose only
//! cgroups are version 2.
//!
//! The machine is emulated, so that no hardware is needed; it takes about a minute. What it runs is
//! `xtask/guest/checks`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{self, output, run};
use crate::{build, fixtures};

/// In an order in which they can be loaded; those a kernel has built in are not found.
const MODULES: [&str; 12] = [
    "libcrc32c",
    "overlay",
    "loop",
    "netfs",
    "erofs",
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "ext4",
];

const PROGRAMS: [&str; 8] = ["sh", "cat", "head", "ls", "mkdir", "sleep", "wc", "tr"];

/// `cargo xtask guest FOLDER`: FOLDER holds a kernel and its modules, as unpacked from a
/// distribution's packages.
pub(crate) fn guest(words: &[String]) -> Result<()> {
    let [kernel] = words else { bail!("usage: cargo xtask guest FOLDER-OF-A-KERNEL") };
    for program in ["qemu-system-x86_64", "cpio", "mkfs.ext4"] {
        ensure!(run::present(program), "{program} is not installed");
    }
    let programs = build::release()?;
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("initial");
    fixtures::busybox(folder.path())?;
    let busybox = folder.path().join("busybox");
    initial_files(&root, Path::new(kernel), &programs, &busybox)?;
    let disk = folder.path().join("disk");
    run(Command::new("truncate").args(["-s", "512M"]).arg(&disk))?;
    run(Command::new("mkfs.ext4").arg("-q").arg(&disk))?;
    let initial = folder.path().join("initial.cpio");
    pack(&root, &initial)?;
    let said = boot(&find(Path::new(kernel), "vmlinuz")?, &initial, &disk)?;
    print!("{said}");
    ensure!(said.contains("failures: 0"), "the checks in the guest failed, or did not end");
    Ok(())
}

/// Everything the guest has.
fn initial_files(root: &Path, kernel: &Path, programs: &Path, busybox: &Path) -> Result<()> {
    for name in ["bin", "opt", "modules", "image/bin", "image/etc", "image/tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", root.join("bin/sh"))?;
    for program in ["hull", "hull-shim", "hull-worker"] {
        fs::copy(programs.join(program), root.join("opt").join(program))?;
    }
    for script in ["init", "checks"] {
        fs::copy(run::root().join("xtask/guest").join(script), root.join(script))?;
        run(Command::new("chmod").arg("755").arg(root.join(script)))?;
    }
    let image = root.join("image");
    fs::copy(programs.join("hull-probe"), image.join("probe"))?;
    fs::copy(busybox, image.join("bin/busybox"))?;
    for name in PROGRAMS {
        std::os::unix::fs::symlink("busybox", image.join("bin").join(name))?;
    }
    fs::write(image.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    let tar = root.join("root.tar");
    run(Command::new("tar")
        .args(["--owner=0", "--group=0", "-C"])
        .arg(&image)
        .arg("-cf")
        .arg(tar)
        .arg("."))?;
    fs::remove_dir_all(&image)?;
    let mut order = String::new();
    for module in MODULES {
        let Ok(file) = find(kernel, &format!("{module}.ko")) else { continue };
        let to = root.join("modules").join(format!("{module}.ko"));
        let bytes = match file.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => unpacked("xz", &file)?,
            Some("zst") => unpacked("zstd", &file)?,
            _ => fs::read(&file)?,
        };
        fs::write(to, bytes)?;
        order.push_str(module);
        order.push_str(".ko\n");
    }
    fs::write(root.join("modules/order"), order)?;
    Ok(())
}

fn unpacked(program: &str, file: &Path) -> Result<Vec<u8>> {
    let output = Command::new(program).args(["-d", "-c"]).arg(file).output()?;
    ensure!(output.status.success(), "{program} cannot unpack {}", file.display());
    Ok(output.stdout)
}

/// The first file below `folder` whose name begins with `name`.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let pattern = format!("{name}*");
    let found = output(Command::new("find").arg(folder).args(["-type", "f", "-name", &pattern]))?;
    let first =
        found.lines().next().with_context(|| format!("no {name} in {}", folder.display()))?;
    Ok(PathBuf::from(first))
}

fn pack(root: &Path, to: &Path) -> Result<()> {
    let script = "find . | cpio --quiet -o -H newc > \"$0\"";
    run(Command::new("sh").args(["-c", script]).arg(to).current_dir(root))
}

fn boot(kernel: &Path, initial: &Path, disk: &Path) -> Result<String> {
    let drive = format!("file={},format=raw,if=virtio", disk.display());
    let mut command = Command::new("timeout");
    command.args(["600", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"]);
    command.args(["-smp", "2", "-m", "1024", "-nographic", "-no-reboot", "-append"]);
    command.args(["console=ttyS0 panic=-1 quiet", "-drive", &drive, "-kernel"]);
    command.arg(kernel).arg("-initrd").arg(initial).stdin(Stdio::null());
    let output = command.output().context("cannot start the virtual machine")?;
    Ok(String::from_utf8_lossy(&output.stdout).replace('\r', ""))
}
