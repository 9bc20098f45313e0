//! Other engines' clients against our registry.

use hull_test_support::peers::Peers;
use hull_test_support::serve::{RegistryServer, pull};

/// `alice` with the password `correct horse`.
const USERS: &str = "alice:$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n";

#[test]
fn privileged_docker_pushes_and_pulls() {
    let Some((hull, peers, folder)) = Peers::beside_hull() else { return };
    let users = hull.file("users", USERS.as_bytes());
    for users in [None, Some(&users)] {
        let mut options = Vec::new();
        options.extend(users.iter().flat_map(|users| ["--htpasswd", users.as_str()]));
        let server = RegistryServer::start_with(&hull, &options);
        let address = server.address();
        let login = match users {
            Some(_) => format!(
                "! docker push -q {address}/app:v1 2>/dev/null
                 echo 'correct horse' | docker login -u alice --password-stdin {address} >&2
                 ! echo wrong | docker login -u alice --password-stdin {address} 2>/dev/null"
            ),
            None => String::new(),
        };
        let said = peers.run_with_docker(
            &folder,
            &format!(
                "docker import --change 'CMD [\"sh\", \"-c\", \"echo from docker\"]' root.tar {address}/app:v1 >&2
                 {login}
                 docker push -q {address}/app:v1 >&2; docker images -q --no-trunc {address}/app:v1
                 docker rmi {address}/app:v1 >&2; docker pull -q {address}/app:v1 >&2
                 docker images -q --no-trunc {address}/app:v1
                 docker inspect --format '{{{{index .RepoDigests 0}}}}' {address}/app:v1"
            ),
        );
        let [pushed, pulled, digest] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("{said}")
        };
        assert_eq!(pushed, pulled);
        if users.is_none() {
            pull(&server.http(), "app", digest.split('@').nth(1).expect("a digest"));
        }
        assert_eq!(server.stop(), Some(0));
        let image = "localhost:5000/app:v1";
        assert_eq!(hull.ok(&["images", "-q", "--no-trunc", image]), pulled);
        assert_eq!(hull.ok(&["run", "--rm", image]), "from docker");
        hull.ok(&["rmi", image]);
    }
    hull.finish();
}

#[test]
fn privileged_podman_pushes_and_pulls() {
    let Some((hull, peers, folder)) = Peers::beside_hull() else { return };
    let server = RegistryServer::start(&hull);
    let address = server.address();
    for kind in ["oci", "v2s2"] {
        for compression in ["gzip", "zstd"] {
            if (kind, compression) == ("v2s2", "zstd") {
                continue;
            }
            let script = format!(
                "set -e; cd {folder}; podman=\"podman --root $PWD/podman --runroot $PWD/podman-run \
                     --storage-driver vfs\"; image={address}/podman/{kind}:{compression}
                 $podman import --change 'CMD [\"sh\", \"-c\", \"echo from podman\"]' root.tar $image >&2
                 $podman push -q --tls-verify=false --format {kind} --compression-format {compression} \
                     --digestfile digest $image >&2
                 $podman rmi -f $image >&2; $podman pull -q --tls-verify=false $image >&2
                 cat digest"
            );
            let digest = peers.run(&script);
            pull(&server.http(), &format!("podman/{kind}"), &digest);
            let name = format!("localhost:5000/podman/{kind}:{compression}");
            assert_eq!(hull.ok(&["run", "--rm", &name]), "from podman");
        }
    }
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_skopeo_copies_there_and_back() {
    let Some((hull, peers, folder)) = Peers::beside_hull() else { return };
    let server = RegistryServer::start(&hull);
    let address = server.address();
    let root = hull.folder().join("root.tar").display().to_string();
    hull.ok(&["import", &root, "localhost:5000/made/here:v1"]);
    let script = format!(
        "set -e; cd {folder}; plain='--src-tls-verify=false --dest-tls-verify=false'
         skopeo copy -q $plain docker://{address}/made/here:v1 dir:out
         skopeo copy -q $plain --preserve-digests dir:out docker://{address}/skopeo/back:v1
         skopeo copy -q $plain --all docker://{address}/skopeo/back:v1 docker://{address}/skopeo/mounted:v1
         skopeo copy -q $plain --dest-compress --dest-compress-format zstd --format oci dir:out docker://{address}/skopeo/zstd:v1
         for image in made/here skopeo/back skopeo/mounted; do
             skopeo inspect --tls-verify=false --format '{{{{.Digest}}}}' docker://{address}/$image:v1
         done
         skopeo list-tags --tls-verify=false docker://{address}/skopeo/back | tr -d ' \\n'; echo
         skopeo delete --tls-verify=false docker://{address}/skopeo/back:v1
         ! skopeo inspect --tls-verify=false docker://{address}/skopeo/back:v1 2>/dev/null"
    );
    let said = peers.run(&script);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(
        lines[0].starts_with("sha256:") && lines[0] == lines[1] && lines[0] == lines[2],
        "{said}"
    );
    assert!(lines[3].contains("\"Tags\":[\"v1\"]"), "{said}");
    pull(&server.http(), "skopeo/mounted", lines[0]);
    pull(&server.http(), "skopeo/zstd", "v1");
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}
