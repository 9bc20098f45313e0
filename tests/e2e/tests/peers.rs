//! Images that other engines saved.

use std::process::Command;

use hull_test_support::busybox::static_busybox;
use hull_test_support::{Hull, needs};

/// Runs a shell script in the peers' root and returns what it printed.
#[track_caller]
fn in_peers(words: &[String], script: &str) -> String {
    let mut command = Command::new(&words[0]);
    let output = command.args(&words[1..]).args(["bash", "-c", script]).output();
    let output = output.expect("the peers' program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Hull, the words of the peers, and a root tar in the test's folder: its name as seen there.
fn set_up() -> Option<(Hull, Vec<String>, String)> {
    if !needs::full() {
        return None;
    }
    let peers = needs::peers()?;
    let hull = Hull::new()?;
    let busybox = std::fs::read(static_busybox()?).ok()?;
    let tar = hull_test_support::busybox::base_tar()
        .file("bin/busybox", 0o755, &busybox)
        .symlink("bin/sh", "busybox");
    hull.file("root.tar", &tar.finish());
    let inside = hull.folder().strip_prefix("/tmp").ok()?.display().to_string();
    Some((hull, peers, format!("/host/{inside}")))
}

#[test]
fn privileged_image_saved_by_docker() {
    let Some((hull, peers, folder)) = set_up() else { return };
    let script = format!(
        "set -e; cd {folder}; mkdir -p docker exec
         dockerd --data-root $PWD/docker --exec-root $PWD/exec -H unix://$PWD/docker.sock \
             --pidfile $PWD/pid --bridge none --iptables=false --ip6tables=false >log 2>&1 &
         daemon=$!; trap 'kill $daemon; wait $daemon || true; umount -R docker 2>/dev/null || true' EXIT
         export DOCKER_HOST=unix://$PWD/docker.sock
         for n in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.2; done
         docker import --change 'CMD [\"sh\", \"-c\", \"echo from docker\"]' root.tar saved:v1 >&2
         docker save -o saved.tar saved:v1; docker images -q --no-trunc saved:v1"
    );
    let id = in_peers(&peers, &script);
    hull.ok(&["load", "-i", &hull.folder().join("saved.tar").display().to_string()]);
    assert_eq!(hull.ok(&["run", "--rm", "saved:v1"]), "from docker");
    assert_eq!(hull.ok(&["images", "-q", "--no-trunc", "saved:v1"]), id.trim());
    hull.finish();
}

#[test]
fn privileged_image_saved_by_podman() {
    let Some((hull, peers, folder)) = set_up() else { return };
    for format in ["docker-archive", "oci-archive"] {
        let script = format!(
            "set -e; cd {folder}; podman=\"podman --root $PWD/podman --runroot $PWD/podman-run \
                 --storage-driver vfs\"
             $podman import --change 'CMD [\"sh\", \"-c\", \"echo from podman\"]' root.tar \
                 localhost/saved:{format} >&2
             rm -f saved.tar; $podman save --format {format} -o saved.tar localhost/saved:{format} >&2"
        );
        in_peers(&peers, &script);
        hull.ok(&["load", "-i", &hull.folder().join("saved.tar").display().to_string()]);
        let image = format!("localhost/saved:{format}");
        assert_eq!(hull.ok(&["run", "--rm", &image]), "from podman");
    }
    hull.finish();
}
