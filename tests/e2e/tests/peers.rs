//! Images that other engines saved.

use hull_test_support::Hull;
use hull_test_support::peers::Peers;

#[test]
fn privileged_image_saved_by_docker() {
    let Some((hull, peers, folder)) = Peers::beside_hull() else { return };
    let script =
        "docker import --change 'CMD [\"sh\", \"-c\", \"echo from docker\"]' root.tar saved:v1 >&2
        docker save -o saved.tar saved:v1; docker images -q --no-trunc saved:v1";
    let id = peers.run_with_docker(&folder, script);
    hull.ok(&["load", "-i", &hull.folder().join("saved.tar").display().to_string()]);
    assert_eq!(hull.ok(&["run", "--rm", "saved:v1"]), "from docker");
    assert_eq!(hull.ok(&["images", "-q", "--no-trunc", "saved:v1"]), id);
    hull.finish();
}

#[test]
fn privileged_image_saved_by_podman() {
    let Some((hull, peers, folder)) = Peers::beside_hull() else { return };
    for format in ["docker-archive", "oci-archive"] {
        let script = format!(
            "set -e; cd {folder}; podman=\"podman --root $PWD/podman --runroot $PWD/podman-run \
                 --storage-driver vfs\"
             $podman import --change 'CMD [\"sh\", \"-c\", \"echo from podman\"]' root.tar \
                 localhost/saved:{format} >&2
             rm -f saved.tar; $podman save --format {format} -o saved.tar localhost/saved:{format} >&2"
        );
        peers.run(&script);
        hull.ok(&["load", "-i", &hull.folder().join("saved.tar").display().to_string()]);
        let image = format!("localhost/saved:{format}");
        assert_eq!(hull.ok(&["run", "--rm", &image]), "from podman");
    }
    hull.finish();
}

/// What Hull commits and saves, Docker and Podman load: the same ID, and the same tree, file by
/// file.
#[test]
fn privileged_image_committed_and_saved_by_hull() {
    let Some((hull, peers, folder)) = Peers::beside_hull() else { return };
    let root = hull.folder().join("root.tar").display().to_string();
    for mode in ["erofs", "unpack"] {
        let hull = Hull::new().expect("root").with_env("HULL_LAYER_MODE", mode);
        hull.ok(&["import", "--change", r#"CMD ["sh", "-c", "echo from hull"]"#, &root, "base"]);
        let script = "b=/bin/busybox; echo new > /etc/new; $b ln /etc/new /etc/hard; \
            $b rm /etc/group; $b rm -r /var/www; $b mkdir -p /var/www/again; \
            $b chown 33:50 /var/www/again; $b chmod 4711 /etc/passwd; $b mkfifo /etc/pipe; \
            $b ln -s new /etc/link; $b chmod 1700 /root";
        hull.ok(&["run", "--name", "box", "base", "sh", "-c", script]);
        let change = r#"CMD ["/bin/busybox", "cat", "/etc/hard"]"#;
        hull.ok(&["commit", "-c", change, "box", "made:v1"]);
        let tar = std::path::Path::new(&root).with_file_name("made.tar").display().to_string();
        hull.ok(&["save", "-o", &tar, "made:v1"]);
        hull.ok(&["create", "--name", "again", "made:v1"]);
        let exported = std::path::Path::new(&root).with_file_name("hull.tar");
        hull.ok(&["export", "-o", &exported.display().to_string(), "again"]);
        let said = peers.run_with_docker(
            &folder,
            "docker load -q -i made.tar >&2; docker rm -f again >/dev/null 2>&1 || true
             docker create --name again made:v1 >/dev/null; docker export again > docker.tar
             docker run --rm --network none made:v1; docker images -q --no-trunc made:v1
             list() { tar tvf $1 --full-time --numeric-owner | grep -vE ' (dev|proc|sys)/|etc/(hosts|hostname|resolv.conf|mtab|)( |$)|dockerenv' | sed 's/\\.[0-9]* / /' | tr -s ' ' | sort; }
             diff <(list docker.tar) <(list hull.tar) >&2
             podman=\"podman --root $PWD/podman --runroot $PWD/podman-run --storage-driver vfs\"
             $podman load -q -i made.tar >&2; $podman images -q --no-trunc made:v1",
        );
        let id = hull.ok(&["images", "-q", "--no-trunc", "made:v1"]);
        assert_eq!(said.lines().collect::<Vec<_>>(), ["new", &id, &id], "{mode}");
        hull.finish();
    }
    hull.finish();
}

/// Copies in and out, named, refused and owned as Docker does: the same script, both engines.
#[test]
fn privileged_copies_as_docker_makes_them() {
    let Some((hull, peers, folder)) = Peers::beside_hull() else { return };
    let root = hull.folder().join("root.tar").display().to_string();
    hull.ok(&["import", &root, "base"]);
    let script = hull.file("copies.sh", include_bytes!("peers/copies.sh"));
    let mut command = std::process::Command::new("bash");
    command
        .args([&script, "hull", "base"])
        .arg(hull.folder().join("by-hull"))
        .env("PATH", format!("{}:/usr/bin:/bin", hull.programs().display()))
        .env("HULL_DATA_ROOT", hull.data_root())
        .env("HULL_EXEC_ROOT", hull.exec_root());
    let output = command.output().expect("bash starts");
    let ours = String::from_utf8_lossy(&output.stdout).into_owned();
    let theirs = peers.run_with_docker(
        &folder,
        "docker import root.tar base >/dev/null; bash copies.sh docker base $PWD/by-docker",
    );
    let cases = ours.lines().filter(|line| line.starts_with("--- ")).count();
    assert!(cases > 50, "{cases} cases\n{ours}");
    for (place, (our, their)) in ours.lines().zip(theirs.lines()).enumerate() {
        let before: Vec<_> = ours.lines().take(place).filter(|l| l.starts_with("---")).collect();
        assert_eq!(our, their, "line {place}, after {:?}", before.last());
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
    hull.finish();
}
