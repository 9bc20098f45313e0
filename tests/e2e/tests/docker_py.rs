//! docker-py, a client that nobody here wrote, on the daemon.

use std::process::Command;

use hull_test_support::busybox::busybox_image;
use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, needs};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker_py/tour.py");

#[test]
fn privileged_docker_py() {
    let Some(library) = needs::fixture("docker-py") else { return };
    let Some(image) = busybox_image() else { return };
    let Some(hull) = Hull::new() else { return };
    let daemon = Daemon::start(&hull);
    let archive = hull.file("image.tar", &image.docker_archive(&["busybox:latest"]));
    let output = Command::new("python3")
        .args([SCRIPT, &archive])
        .env("PYTHONPATH", library)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DOCKER_HOST", daemon.host())
        .output()
        .expect("python3 starts: it has installed the library");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{why}");
    assert!(said.lines().filter(|line| line.starts_with("ok: ")).count() > 80, "{said}");
    assert!(said.ends_with("ok: nothing is left\n"), "{said}");
    drop(daemon);
    hull.finish();
}
