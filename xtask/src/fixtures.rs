//! What the tests need from the distribution. The only task that downloads.
//!
//! `target/fixtures` holds a static busybox, the tars of two Debian root file systems (one with
//! servers in it, one with what programs are built with), each made once per content key, and the
//! Python library docker-py.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use hull_oci::Digest;

use crate::run::{is_root, present, root, run};

/// Debian release of the root file systems.
const RELEASE: &str = "bookworm";

/// The root file systems, with what each holds beyond the essential packages.
const ROOTS: &[(&str, &[&str])] = &[
    ("debian", &["postgresql", "nginx-light", "redis-server", "python3-minimal"]),
    ("toolchain", &["gcc", "libc6-dev", "make", "python3-minimal", "python3-pip"]),
];

/// A client of the API that is not ours.
const DOCKER_PY: &str = "docker==7.1.0";

/// What the tests run: a package, and a program it brings.
const TOOLS: &[(&str, &str)] = &[
    ("busybox-static", "busybox"),
    ("docker-registry", "docker-registry"),
    ("mmdebstrap", "mmdebstrap"),
    ("strace", "strace"),
];

/// Makes what is missing; returns the folder. What cannot be had is said and left out: the tests
/// that need it then skip, or fail where `tests/required.toml` says so.
pub(crate) fn make() -> Result<PathBuf> {
    let folder = root().join("target/fixtures");
    fs::create_dir_all(&folder)?;
    if let Err(error) = install() {
        eprintln!("fixtures: {error:#}");
    }
    if let Err(error) = busybox(&folder) {
        eprintln!("fixtures: no busybox: {error:#}");
    }
    for (name, software) in ROOTS {
        if let Err(error) = debian(&folder, name, software) {
            eprintln!("fixtures: no Debian root file system {name}: {error:#}");
        }
    }
    if let Err(error) = docker_py(&folder) {
        eprintln!("fixtures: no docker-py: {error:#}");
    }
    Ok(folder)
}

/// The library and what it needs, beside everything else of the machine's Python.
fn docker_py(folder: &Path) -> Result<()> {
    let to = folder.join("docker-py");
    if to.is_dir() {
        return Ok(());
    }
    let partial = folder.join("docker-py.partial");
    if partial.is_dir() {
        fs::remove_dir_all(&partial)?;
    }
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target"])
        .arg(&partial)
        .arg(DOCKER_PY))?;
    fs::rename(partial, to)?;
    Ok(())
}

fn install() -> Result<()> {
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(_, program)| !present(program))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || !present("apt-get") {
        bail!("install {} first (it needs root and apt-get)", missing.join(", "));
    }
    run(Command::new("apt-get").args(["update", "-qq"]).stdout(Stdio::null()))?;
    run(Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null()))
}

pub(crate) fn busybox(folder: &Path) -> Result<()> {
    let to = folder.join("busybox");
    if to.is_file() {
        return Ok(());
    }
    let from = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
        .context("the package busybox-static is not installed")?;
    fs::copy(from, &to)?;
    Ok(())
}

fn debian(folder: &Path, name: &str, software: &[&str]) -> Result<()> {
    let key_text = format!("1 {RELEASE} {}", software.join(" "));
    let key = &Digest::sha256(key_text.as_bytes()).hex()[..16].to_owned();
    let file = |ending: &str| folder.join(format!("{name}.{ending}"));
    let (tar, key_file) = (file("tar"), file("key"));
    if tar.is_file() && fs::read_to_string(&key_file).is_ok_and(|text| text == *key) {
        return Ok(());
    }
    if !present("mmdebstrap") {
        bail!("mmdebstrap is not installed");
    }
    println!("fixtures: making a Debian {RELEASE} root file system ({})", software.join(", "));
    let partial = file("partial.tar");
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=minbase", "--aptopt=Acquire::Languages \"none\""])
        .arg(format!("--include={}", software.join(",")));
    // The machine's own settings (a proxy, say) hold for the packages of the fixture too.
    for settings in apt_settings() {
        command.arg(format!("--aptopt={}", settings.display()));
    }
    command.arg(RELEASE).arg(&partial);
    let sources = apt_sources();
    if sources.is_empty() {
        run(&mut command)?;
    } else {
        command.arg("-").stdin(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("no stdin for mmdebstrap")?;
        std::io::Write::write_all(&mut stdin, sources.as_bytes())?;
        drop(stdin);
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "mmdebstrap: {status}");
    }
    fs::rename(&partial, &tar)?;
    fs::write(key_file, key)?;
    Ok(())
}

/// The package sources of this machine, where they are of the same release.
fn apt_sources() -> String {
    let mut texts = String::new();
    let one = Path::new("/etc/apt/sources.list").to_owned();
    for path in std::iter::once(one).chain(files("/etc/apt/sources.list.d", "sources")) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if text.contains(RELEASE) {
            texts.push_str(&text);
            texts.push('\n');
        }
    }
    texts
}

fn apt_settings() -> Vec<PathBuf> {
    files("/etc/apt/apt.conf.d", "")
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("Acquire::")))
        .collect()
}

fn files(folder: &str, extension: &str) -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| extension.is_empty() || path.extension().is_some_and(|is| is == extension))
        .collect();
    found.sort();
    found.into_iter()
}
