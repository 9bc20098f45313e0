//! Credentials, from the command line to a registry that asks for them.

use std::os::unix::fs::PermissionsExt as _;

use hull_test_support::Hull;
use hull_test_support::registry::{Answer, DebianRegistry, ScriptedRegistry};

/// `me` with the password `geheim`, as htpasswd -B writes it.
const USERS: &str = "me:$2y$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n";

/// A registry that asks who somebody is.
fn registry(hull: &Hull) -> Option<DebianRegistry> {
    let users = hull.file("htpasswd", USERS.as_bytes());
    DebianRegistry::start_with(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {users}\n"))
}

#[track_caller]
fn login(hull: &Hull, server: &str) {
    let words = ["login", "-u", "me", "--password-stdin", server];
    let output = hull.run_with_input(&words, b"geheim\n");
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "Login Succeeded\n"),
        "{}",
        output.stderr
    );
}

#[test]
fn privileged_login_opens_a_registry_until_logout() {
    let Some(hull) = Hull::with_busybox() else { return };
    let Some(registry) = registry(&hull) else { return };
    let server = registry.address();
    let name = format!("{server}/team/box:v1");
    hull.ok(&["tag", "busybox", &name]);
    let output = hull.run(&["push", &name]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains(&format!("`hull login {server}`")), "{output:?}");

    let config = hull.folder().join(".docker/config.json");
    let wrong = hull.run_with_input(&["login", "-u", "me", "--password-stdin", server], b"falsch");
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("refuses the credentials"), "{wrong:?}");
    assert!(wrong.stderr.ends_with("\nhint: is the name or the password misspelt?\n"), "{wrong:?}");
    assert!(!config.exists());
    login(&hull, server);
    let mode = std::fs::metadata(&config).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let again = hull.run(&["login", server]);
    assert_eq!(again.stdout, "Login Succeeded\n", "{again:?}");
    assert!(again.stderr.contains("[Username: me]"), "{again:?}");

    hull.ok(&["push", &name]);
    hull.ok(&["rmi", &name, "busybox"]);
    hull.ok(&["pull", &name]);
    assert_eq!(hull.ok(&["run", "--rm", &name, "echo", "ran"]), "ran");
    let seen = hull.json(&["image", "inspect", "--remote", &name]);
    assert!(seen[0]["Descriptor"]["digest"].as_str().unwrap().starts_with("sha256:"), "{seen}");

    hull.ok(&["logout", server]);
    assert!(!std::fs::read_to_string(&config).unwrap().contains("auth\":"));
    let output = hull.run(&["pull", &name]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains(&format!("`hull login {server}`")), "{output:?}");
    hull.finish();
}

#[test]
fn privileged_login_with_a_helper_leaves_no_secret_in_a_file() {
    let Some(hull) = Hull::with_busybox() else { return };
    let Some(registry) = registry(&hull) else { return };
    let (server, folder) = (registry.address(), hull.folder().to_owned());
    let helper = hull.file(
        "docker-credential-keys",
        b"#!/bin/sh\ncd \"$HOME\"\ncase $1 in\nstore) cat > kept;;\nerase) rm -f kept;;\n\
          get) cat kept 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; };;\nesac\n",
    );
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(folder.join(".docker")).unwrap();
    let config = folder.join(".docker/config.json");
    std::fs::write(&config, "{\"credsStore\":\"keys\",\"other\":[1, 2]}").unwrap();
    let hull = hull.with_env("PATH", &format!("{}:/usr/bin:/bin", folder.display()));
    let name = format!("{server}/box");
    login(&hull, server);
    assert!(
        std::fs::read_to_string(folder.join("kept")).unwrap().contains("\"Secret\":\"geheim\"")
    );
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(
        text.contains("\"other\": [1, 2]") && !text.contains("geheim") && !text.contains("bWU6"),
        "{text}"
    );
    hull.ok(&["tag", "busybox", &name]);
    hull.ok(&["push", "-q", &name]);
    hull.ok(&["logout", server]);
    assert!(!folder.join("kept").exists());
    assert_eq!(hull.run(&["push", "-q", &name]).code, 1);
    hull.finish();
}

#[test]
fn privileged_credentials_of_podman_and_of_variables_are_used() {
    let Some(hull) = Hull::with_busybox() else { return };
    let Some(registry) = registry(&hull) else { return };
    let server = registry.address();
    let name = format!("{server}/team/box:v1");
    hull.ok(&["tag", "busybox", &name]);
    let run = |variables: &[(&str, &str)], words: &[&str]| {
        let mut command = hull.command(words);
        command.envs(variables.iter().copied());
        command.output().unwrap().status.code()
    };
    // `me:geheim`, for one repository.
    let text = format!("{{\"auths\":{{\"{server}/team\":{{\"auth\":\"bWU6Z2VoZWlt\"}}}}}}");
    let file = hull.file("auth.json", text.as_bytes());
    assert_eq!(run(&[("REGISTRY_AUTH_FILE", &file)], &["push", "-q", &name]), Some(0));
    let other = format!("{server}/teams/box:v1");
    hull.ok(&["tag", "busybox", &other]);
    assert_eq!(run(&[("REGISTRY_AUTH_FILE", &file)], &["push", "-q", &other]), Some(1));
    std::fs::create_dir(hull.folder().join("containers")).unwrap();
    std::fs::rename(file, hull.folder().join("containers/auth.json")).unwrap();
    let runtime = hull.folder().display().to_string();
    assert_eq!(run(&[("XDG_RUNTIME_DIR", &runtime)], &["pull", "-q", &name]), Some(0));
    assert_eq!(run(&[("DOCKER_AUTH_CONFIG", &text)], &["pull", "-q", &name]), Some(0));
    assert_eq!(run(&[], &["pull", "-q", &name]), Some(1));
    hull.finish();
}

#[test]
fn privileged_cve_2021_41092_credentials_reach_their_own_registry_alone() {
    let Some(hull) = Hull::with_busybox() else { return };
    let Some(registry) = registry(&hull) else { return };
    login(&hull, registry.address());
    // The same address at another port, which asks for credentials as well.
    let stranger = ScriptedRegistry::start(|_| {
        Answer::new(401).header("WWW-Authenticate", "Basic realm=\"test\"")
    });
    let name = format!("{}/team/box:v1", stranger.address());
    hull.ok(&["tag", "busybox", &name]);
    for words in
        [&["pull", "-q", &name][..], &["push", "-q", &name], &["manifest", "inspect", &name]]
    {
        assert_eq!(hull.run(words).code, 1, "{words:?}");
    }
    assert!(!stranger.requests().is_empty());
    stranger.never_saw("geheim");
    stranger.never_saw("bWU6Z2VoZWlt");
    hull.finish();
}

#[test]
fn privileged_run_pulls_what_is_missing() {
    let Some(hull) = Hull::with_busybox() else { return };
    let Some(registry) = registry(&hull) else { return };
    let server = registry.address();
    let name = format!("{server}/box:v1");
    login(&hull, server);
    hull.ok(&["tag", "busybox", &name]);
    hull.ok(&["push", "-q", &name]);
    hull.ok(&["rmi", &name, "busybox"]);
    let output = hull.run(&["run", "--rm", "--pull", "never", &name, "echo", "ran"]);
    assert_eq!(output.code, 125, "{output:?}");
    assert!(output.stderr.contains("No such image"), "{output:?}");
    let output = hull.run(&["run", "--rm", &name, "echo", "ran"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "ran\n"), "{output:?}");
    let first = output.stderr.lines().next();
    assert_eq!(first, Some(&*format!("Unable to find image '{name}' locally")), "{output:?}");
    let output = hull.run(&["run", "--rm", &name, "echo", "again"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("again\n", ""));
    hull.ok(&["rmi", &name]);
    let output = hull.run(&["run", "--rm", "-q", &name, "echo", "quiet"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("quiet\n", ""));
    let output = hull.run(&["create", "--pull", "always", &name]);
    assert!(output.code == 0 && output.stderr.contains("Digest: sha256:"), "{output:?}");
    let output = hull.run(&["run", &format!("{server}/box:nosuch")]);
    assert_eq!(output.code, 125, "{output:?}");
    hull.finish();
}

#[test]
fn privileged_manifest_lists_are_made_of_images() {
    let Some(hull) = Hull::with_busybox() else { return };
    let Some(registry) = registry(&hull) else { return };
    let server = registry.address();
    login(&hull, server);
    for tag in ["one", "two"] {
        let name = format!("{server}/team/box:{tag}");
        let container = hull.ok(&["create", "busybox", tag]);
        hull.ok(&["commit", "-c", &format!("CMD [\"echo\", \"{tag}\"]"), &container, &name]);
        hull.ok(&["push", "-q", &name]);
    }
    let list = format!("{server}/lists/box:v1");
    let (one, two) = (format!("{server}/team/box:one"), format!("{server}/team/box:two"));
    let created = hull.ok(&["manifest", "create", &list, &one, &two]);
    assert_eq!(created, format!("Created manifest list {list}"));
    hull.ok(&["manifest", "annotate", &list, &two, "--arch", "arm64", "--variant", "v8"]);
    let draft = hull.json(&["manifest", "inspect", &list]);
    let pushed = hull.ok(&["manifest", "push", "--purge", &list]);
    let digest = pushed.lines().last().unwrap();
    let seen = hull.json(&["manifest", "inspect", &list]);
    assert_eq!(seen, draft);
    let remote = hull.json(&["image", "inspect", "--remote", &list]);
    assert_eq!(remote[0]["Descriptor"]["digest"], digest);
    hull.ok(&["pull", "-q", &list]);
    assert_eq!(hull.ok(&["run", "--rm", &list]), "one");
    let verbose = hull.json(&["manifest", "inspect", "--verbose", &list]);
    assert_eq!(verbose[1]["Descriptor"]["platform"]["architecture"], "arm64");
    hull.fails(&["manifest", "push", &list], 1, "not found");
    hull.finish();
}
