//! Images that other engines pushed, pulled by Hull, and the other way round; between them stands
//! Debian's registry, which neither wrote.

use hull_test_support::Hull;
use hull_test_support::peers::Peers;
use hull_test_support::registry::DebianRegistry;

struct Setting {
    hull: Hull,
    registry: DebianRegistry,
    peers: Peers,
    /// The test's folder as the peers see it. It holds `root.tar`.
    folder: String,
}

fn set_up() -> Option<Setting> {
    let (hull, peers, folder) = Peers::beside_hull()?;
    let registry = DebianRegistry::start()?;
    Some(Setting { hull, registry, peers, folder })
}

impl Setting {
    /// `host:port/rest`.
    fn image(&self, rest: &str) -> String {
        format!("{}/{rest}", self.registry.address())
    }

    /// The digest the registry has an image under, as skopeo sees it.
    fn digest(&self, image: &str) -> String {
        let format = "--format '{{.Digest}}'";
        let script = format!("skopeo inspect --tls-verify=false {format} docker://{image}");
        self.peers.run(&script)
    }

    /// Hull has an image under the digest that the registry has it under. (Manifests of one image
    /// in one repository share its digests.)
    #[track_caller]
    fn assert_same_digest(&self, image: &str) {
        let known = self.hull.ok(&["image", "inspect", "--format", "{{json .RepoDigests}}", image]);
        let digest = self.digest(image);
        assert!(known.contains(&digest), "{image}: {known} without {digest}");
    }
}

#[test]
fn privileged_images_between_docker_and_hull() {
    let Some(setting) = set_up() else { return };
    let (theirs, ours, back) =
        (setting.image("docker/app:v1"), setting.image("hull/app:v1"), setting.image("back:v1"));
    let hull = &setting.hull;
    let root = hull.folder().join("root.tar").display().to_string();
    let change = "CMD [\"sh\", \"-c\", \"echo from hull\"]";
    hull.ok(&["import", "--change", change, &root, &ours]);
    hull.ok(&["push", "--quiet", &ours]);
    let said = setting.peers.run_with_docker(
        &setting.folder,
        &format!(
            "docker import --change 'CMD [\"sh\", \"-c\", \"echo from docker\"]' root.tar {theirs} >&2
             docker push -q {theirs} >&2; docker images -q --no-trunc {theirs}
             docker pull -q {ours} >&2; docker images -q --no-trunc {ours}
             docker run --rm --network none {ours}"
        ),
    );
    let [pushed, pulled, ran] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!(ran, "from hull");
    let id = |image: &str| hull.ok(&["images", "-q", "--no-trunc", image]);
    assert_eq!(id(&ours), pulled);
    hull.ok(&["pull", &theirs]);
    assert_eq!(id(&theirs), pushed);
    setting.assert_same_digest(&theirs);
    assert_eq!(hull.ok(&["run", "--rm", &theirs]), "from docker");
    // What was pulled goes on byte by byte.
    hull.ok(&["tag", &theirs, &back]);
    hull.ok(&["push", "--quiet", &back]);
    assert_eq!(setting.digest(&back), setting.digest(&theirs));
    for image in [&theirs, &ours, &back] {
        hull.ok(&["rmi", image]);
    }
    setting.hull.finish();
}

#[test]
fn privileged_images_between_podman_and_hull() {
    let Some(setting) = set_up() else { return };
    let hull = &setting.hull;
    let podman = "podman --root $PWD/podman --runroot $PWD/podman-run --storage-driver vfs";
    for (kind, compression) in [("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")] {
        let theirs = setting.image(&format!("podman/{kind}:{compression}"));
        let back = setting.image(&format!("back/{kind}:{compression}"));
        let script = format!(
            "set -e; cd {}; podman=\"{podman}\"
             $podman import --change 'CMD [\"sh\", \"-c\", \"echo from podman\"]' root.tar {theirs} >&2
             $podman push -q --tls-verify=false --format {kind} --compression-format {compression} \
                 {theirs} >&2
             $podman rmi -f {theirs} >&2",
            setting.folder
        );
        setting.peers.run(&script);
        hull.ok(&["pull", &theirs]);
        setting.assert_same_digest(&theirs);
        assert_eq!(hull.ok(&["run", "--rm", &theirs]), "from podman");
        hull.ok(&["tag", &theirs, &back]);
        hull.ok(&["push", "--quiet", &back]);
        assert_eq!(setting.digest(&back), setting.digest(&theirs));
        for image in [&theirs, &back] {
            hull.ok(&["rmi", image]);
        }
    }
    let root = hull.folder().join("root.tar").display().to_string();
    let change = "CMD [\"sh\", \"-c\", \"echo from hull\"]";
    for compression in ["gzip", "zstd"] {
        let ours = setting.image(&format!("hull/app:{compression}"));
        hull.ok(&["import", "--change", change, &root, &ours]);
        hull.ok(&["push", "--quiet", "--compression", compression, &ours]);
        let script = format!(
            "set -e; cd {}; podman=\"{podman}\"
             $podman pull -q --tls-verify=false {ours} >&2
             $podman image inspect --format '{{{{.Digest}}}}' {ours}; $podman rmi -f {ours} >&2",
            setting.folder
        );
        assert_eq!(setting.peers.run(&script), setting.digest(&ours));
        hull.ok(&["rmi", &ours]);
    }
    setting.hull.finish();
}

/// Indexes in indexes, artifacts and what skopeo makes of images.
#[test]
fn privileged_images_between_skopeo_and_hull() {
    let Some(setting) = set_up() else { return };
    let hull = &setting.hull;
    let root = hull.folder().join("root.tar").display().to_string();
    let ours = setting.image("hull/app:v1");
    let change = "CMD [\"sh\", \"-c\", \"echo from hull\"]";
    hull.ok(&["import", "--change", change, &root, &ours]);
    hull.ok(&["push", "--quiet", &ours]);
    let copies = setting.image("skopeo/copies");
    let script = format!(
        "set -e; plain='--src-tls-verify=false --dest-tls-verify=false'
         skopeo copy -q $plain --preserve-digests docker://{ours} docker://{copies}:same
         skopeo copy -q $plain --format v2s2 docker://{ours} docker://{copies}:v2s2
         skopeo copy -q $plain --dest-compress --dest-compress-format zstd --dest-force-compress-format \
             --format oci docker://{ours} docker://{copies}:zstd"
    );
    setting.peers.run(&script);
    assert_eq!(setting.digest(&format!("{copies}:same")), setting.digest(&ours));
    hull.ok(&["rmi", &ours]);
    hull.ok(&["pull", "--all-tags", "--quiet", &copies]);
    for tag in ["same", "v2s2", "zstd"] {
        let image = format!("{copies}:{tag}");
        setting.assert_same_digest(&image);
        assert_eq!(hull.ok(&["run", "--rm", &image]), "from hull", "{tag}");
        hull.ok(&["rmi", &image]);
    }
    setting.hull.finish();
}
