//! `pull`, `push`, `login`, `logout`, `search`, `manifest`, and pulls before a container.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use hull_api::registry::AuthConfig;
use hull_test_support::terminal::Terminal;

use crate::engine::{Answer, Engine, Request};
use crate::screen::Screen;
use crate::{ID, check, hull};

const PULL: &str = r#"{"status":"Pulling from team/app","id":"v1"}
{"status":"Pulling fs layer","progressDetail":{},"id":"aaaa"}
{"status":"Already exists","progressDetail":{},"id":"bbbb"}
{"status":"Downloading","progressDetail":{"current":5,"total":9},"progress":"[>]","id":"aaaa"}
{"status":"Pull complete","progressDetail":{},"id":"aaaa"}
{"status":"Digest: sha256:0000"}
{"status":"Status: Downloaded newer image for r.example/team/app:v1"}
"#;

const PULLED: &str = "v1: Pulling from team/app\naaaa: Pulling fs layer\nbbbb: Already exists\n\
    aaaa: Pull complete\nDigest: sha256:0000\n\
    Status: Downloaded newer image for r.example/team/app:v1\n";

/// One who has a folder for credentials.
struct User {
    engine: Engine,
}

impl User {
    fn new(script: Vec<(&'static str, &'static str, Answer)>) -> Self {
        let user = Self { engine: Engine::new(script) };
        std::fs::create_dir(user.engine.folder().join("config")).unwrap();
        user
    }

    fn with_config(self, text: &str) -> Self {
        std::fs::write(self.config(), text).unwrap();
        self
    }

    /// A program `docker-credential-keys` in PATH: a shell script.
    fn with_helper(self, body: &str) -> Self {
        let path = self.engine.folder().join("docker-credential-keys");
        let body = body.replace("DIR", &self.engine.folder().display().to_string());
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn config(&self) -> PathBuf {
        self.engine.folder().join("config/config.json")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = hull();
        command
            .env("DOCKER_CONFIG", self.engine.folder().join("config"))
            .env("XDG_RUNTIME_DIR", self.engine.folder())
            .env("PATH", format!("{}:/usr/bin:/bin", self.engine.folder().display()))
            .arg("--host")
            .arg(self.engine.address())
            .args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn run_with_input(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(words);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn last(&self) -> Request {
        self.engine.requests().pop().unwrap()
    }
}

fn credentials(request: &Request) -> AuthConfig {
    AuthConfig::from_header(request.header("x-registry-auth")).unwrap()
}

/// A pull's answer in one piece.
fn pull(body: &str) -> (&'static str, &'static str, Answer) {
    ("POST", "/images/create", Answer::json(200, body))
}

#[test]
fn a_pull_prints_what_docker_prints() {
    let user = User::new(vec![pull(PULL)]);
    let whole = format!("{PULLED}r.example/team/app:v1\n");
    check(&user.run(&["pull", "r.example/team/app:v1"]), 0, &whole, "");
    assert_eq!(user.last().target, "/v1.51/images/create?fromImage=r.example%2Fteam%2Fapp&tag=v1");
    check(
        &user.run(&["image", "pull", "-q", "box", "--platform", "Linux/ARM64"]),
        0,
        "docker.io/library/box:latest\n",
        "",
    );
    assert_eq!(
        user.last().target,
        "/v1.51/images/create?fromImage=box&tag=latest&platform=linux%2Farm64"
    );
    let digest = format!("sha256:{}", "a".repeat(64));
    let name = format!("box@{digest}");
    check(&user.run(&["pull", "-q", &name]), 0, &format!("docker.io/library/{name}\n"), "");
    assert!(user.last().target.ends_with(&format!("&tag={}", digest.replace(':', "%3A"))));
    check(&user.run(&["pull", "-aq", "box"]), 0, "docker.io/library/box\n", "");
    assert!(user.last().target.ends_with("fromImage=box"));
    let output = user.run(&["pull", "box"]);
    assert!(output.stdout.starts_with(b"Using default tag: latest\nv1: Pulling"));
}

#[test]
fn names_that_are_none_reach_no_engine() {
    let user = User::new(vec![]);
    let table = [
        (&["pull", "-a", "box:v1"][..], "tag can't be used with --all-tags/-a"),
        (&["push", "-a", "box:v1"], "tag can't be used with --all-tags/-a"),
        (
            &["pull", "UPPER"],
            "invalid reference format: repository name (library/UPPER) must be lowercase",
        ),
        (&["pull", "a b"], "invalid reference format"),
        (
            &["push", "--compression", "xz", "box"],
            "invalid compression: \"xz\": must be one of \"gzip\", \"zstd\"",
        ),
        (
            &["login", "https://user@r.example"],
            "\"https://user@r.example\" is no registry: a host is expected, and perhaps a port",
        ),
    ];
    for (words, message) in table {
        check(&user.run(words), 1, "", &format!("hull: {message}\n"));
    }
    assert!(user.engine.requests().is_empty());
}

#[test]
fn failures_of_a_pull_end_it_with_advice() {
    let denied = r#"{"status":"Pulling fs layer","progressDetail":{},"id":"aaaa"}
{"errorDetail":{"message":"unauthorized: authentication required"},"error":"unauthorized"}
"#;
    let user = User::new(vec![
        ("POST", "/images/create", Answer::json(200, denied).once()),
        (
            "POST",
            "/images/create",
            Answer::json(404, r#"{"message":"manifest for box:v9 not found: manifest unknown"}"#)
                .once(),
        ),
        pull(
            r#"{"error":"no space","errorDetail":{"message":"no space","hint":"remove something"}}"#,
        ),
    ]);
    check(
        &user.run(&["pull", "r.example/box:v9"]),
        1,
        "aaaa: Pulling fs layer\n",
        "hull: unauthorized: authentication required\nhint: log in first: `hull login r.example`\n",
    );
    check(
        &user.run(&["pull", "box:v9"]),
        1,
        "",
        "hull: manifest for box:v9 not found: manifest unknown\nhint: is the tag misspelt, or made for another platform?\n",
    );
    check(&user.run(&["pull", "-q", "box:v9"]), 1, "", "hull: no space\nhint: remove something\n");
}

#[test]
fn an_answer_that_is_no_stream_of_news_is_an_error() {
    for (body, said) in [
        ("{\"status\":\n", "the engine's answer is not what was expected"),
        (&*"x".repeat(3 << 20), "the engine's answer is not what was expected: a line without end"),
    ] {
        let user = User::new(vec![pull(body)]);
        let output = user.run(&["pull", "-q", "box"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && stderr.contains(said), "{stderr:.200}");
    }
}

#[test]
fn cve_2021_41092_credentials_go_with_requests_to_their_own_registry_alone() {
    let config = r#"{"auths":{"localhost:5000":{"auth":"bWU6cHc="},"https://index.docker.io/v1/":{"auth":"aHViOnB3"},
        "quay.io/team":{"auth":"dGVhbTpwdw=="}}}"#;
    let user =
        User::new(vec![pull(""), ("POST", "/push", Answer::json(200, ""))]).with_config(config);
    let table = [
        ("localhost:5000/box", "me", "localhost:5000"),
        ("localhost:5001/box", "", ""),
        ("localhost/box", "", ""),
        ("box", "hub", "https://index.docker.io/v1/"),
        ("index.docker.io/user/box", "hub", "https://index.docker.io/v1/"),
        ("docker.io.evil.example/box", "", ""),
        ("evil.example/index.docker.io/v1", "", ""),
        ("quay.io/team/box", "team", "quay.io"),
        ("quay.io/teams/box", "", ""),
    ];
    for (name, username, server) in table {
        for verb in ["pull", "push"] {
            assert!(user.run(&[verb, "-q", name]).status.success());
            let auth = credentials(&user.last());
            assert_eq!(
                (auth.username.as_str(), auth.serveraddress.as_str()),
                (username, server),
                "{verb} {name}"
            );
            assert_eq!(auth.password.is_empty(), username.is_empty());
        }
    }
}

#[test]
fn helpers_are_asked_for_what_they_keep() {
    let user = User::new(vec![pull("")])
        .with_config(r#"{"credHelpers":{"r.example":"keys","s.example":"gone"}}"#)
        .with_helper(
            r#"read server; echo "$1 $server" >> DIR/asked
            echo "{\"ServerURL\":\"$server\",\"Username\":\"<token>\",\"Secret\":\"refresh\"}""#,
        );
    assert!(user.run(&["pull", "-q", "r.example/box"]).status.success());
    let auth = credentials(&user.last());
    assert_eq!((auth.username.as_str(), auth.identitytoken.reveal()), ("", "refresh"));
    assert_eq!(
        std::fs::read_to_string(user.engine.folder().join("asked")).unwrap(),
        "get r.example\n"
    );
    assert!(user.run(&["pull", "-q", "t.example/box"]).status.success());
    assert!(credentials(&user.last()).is_anonymous());
    check(
        &user.run(&["pull", "-q", "s.example/box"]),
        0,
        "s.example/box:latest\n",
        "WARNING: no credentials for s.example: the credential helper docker-credential-gone is not there: no such program in PATH\n",
    );
    assert!(credentials(&user.last()).is_anonymous());
}

#[test]
fn a_login_is_checked_and_kept() {
    let accepted = Answer::json(200, r#"{"Status":"Login Succeeded","IdentityToken":""}"#);
    let user = User::new(vec![("POST", "/auth", accepted)]).with_config("{\n\t\"x\": [1,  2]\n}");
    let output = user.run_with_input(
        &["login", "-u", "me", "--password-stdin", "https://r.example/v2/"],
        "pw\r\n",
    );
    let path = user.config();
    check(
        &output,
        0,
        "Login Succeeded\n",
        &format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential \
             helper to remove this warning: \"credsStore\" in that file names one.\n\n",
            path.display()
        ),
    );
    assert_eq!(
        String::from_utf8(user.last().body).unwrap(),
        r#"{"username":"me","password":"pw","serveraddress":"r.example"}"#
    );
    let kept = "{\n\t\"x\": [1,  2],\n\t\"auths\": {\n\t\t\"r.example\": {\n\t\t\t\"auth\": \"bWU6cHc=\"\n\t\t}\n\t}\n}";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), kept);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    check(
        &user.run(&["login", "r.example"]),
        0,
        "Login Succeeded\n",
        "Authenticating with existing credentials... [Username: me]\n",
    );
    check(&user.run(&["logout", "r.example"]), 0, "Removing login credentials for r.example\n", "");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\n\t\"x\": [1,  2],\n\t\"auths\": {}\n}");
    check(
        &user.run(&["logout"]),
        0,
        "Removing login credentials for https://index.docker.io/v1/\n",
        "",
    );
}

#[test]
fn a_login_goes_to_the_helper_with_the_token_that_the_registry_gave() {
    let accepted = Answer::json(200, r#"{"Status":"Login Succeeded","IdentityToken":"refresh"}"#);
    let user = User::new(vec![("POST", "/auth", accepted)])
        .with_config(r#"{"credsStore":"keys"}"#)
        .with_helper(
            r#"case $1 in get) echo 'credentials not found in native keychain'; exit 1;; esac
            echo "$1" >> DIR/asked; cat >> DIR/asked"#,
        );
    check(
        &user.run(&["login", "-u", "me", "-p", "pw"]),
        0,
        "Login Succeeded\n",
        "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n",
    );
    check(
        &user.run(&["logout"]),
        0,
        "Removing login credentials for https://index.docker.io/v1/\n",
        "",
    );
    assert_eq!(
        std::fs::read_to_string(user.engine.folder().join("asked")).unwrap(),
        "store\n{\"ServerURL\":\"https://index.docker.io/v1/\",\"Username\":\"<token>\",\"Secret\":\"refresh\"}\n\
         erase\nhttps://index.docker.io/v1/\n"
    );
    assert!(!std::fs::read_to_string(user.config()).unwrap().contains("refresh"));
}

#[test]
fn logins_that_are_refused_keep_nothing() {
    let refused =
        Answer::json(401, r#"{"message":"unauthorized: incorrect username or password"}"#);
    let user = User::new(vec![("POST", "/auth", refused)]);
    let login =
        |words: &[&str], input: &str| user.run_with_input(&[&["login"], words].concat(), input);
    check(
        &login(&["-u", "me", "--password-stdin", "r.example"], "pw"),
        1,
        "",
        "hull: unauthorized: incorrect username or password\nhint: is the name or the password misspelt?\n",
    );
    assert!(!user.config().exists());
    let table = [
        (
            &["-u", "me"][..],
            "Cannot perform an interactive login from a non TTY device\nhint: give the name with --username and the password with --password-stdin",
        ),
        (&["--password-stdin"], "the --password-stdin option requires --username to be set"),
        (&["-u", "me", "--password-stdin"], "password is empty"),
        (&["-u", "", "--password-stdin"], "username is empty"),
        (
            &["-u", "me", "--password-stdin", "--password", "x"],
            "conflicting options: cannot specify both --password and --password-stdin",
        ),
    ];
    for (words, message) in table {
        check(&login(words, ""), 1, "", &format!("hull: {message}\n"));
    }
}

#[test]
fn a_login_on_a_terminal_asks_and_hides() {
    let accepted = Answer::json(200, r#"{"Status":"Login Succeeded"}"#);
    let user = User::new(vec![("POST", "/auth", accepted)]);
    let mut terminal = Terminal::start(&user.command(&["login", "r.example"]), 80, 24);
    terminal.expect("Username: ");
    terminal.send("me\n");
    terminal.expect("Password: ");
    terminal.send("geheim\n");
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.ends_with("Login Succeeded\r\n") && !shown.contains("geheim"), "{shown}");
    assert!(String::from_utf8(user.last().body).unwrap().contains("geheim"));
    // The terminal shows again what is typed after a question that was not answered.
    let script = "trap : INT; \"$0\" \"$@\"; echo \"code $?\"; stty -a | tr ' ' '\\n' | grep -x -- '-\\?echo;\\?'";
    let command = user.command(&["login", "-u", "me", "s.example"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal = Terminal::start(&shell, 80, 24);
    terminal.expect("Password: ");
    terminal.send("\x03");
    terminal.expect("code 130");
    terminal.expect("echo");
    let (_, shown) = terminal.finish();
    assert!(!shown.contains("-echo"), "{shown}");
}

#[test]
fn a_push_asks_for_what_the_options_say() {
    let body = r#"{"status":"The push refers to repository [r.example/box]"}
{"status":"Preparing","progressDetail":{},"id":"aaaa"}
{"status":"Pushed","progressDetail":{},"id":"aaaa"}
{"status":"v1: digest: sha256:0000 size: 528"}
{"progressDetail":{},"aux":{"Tag":"v1","Digest":"sha256:0000","Size":528}}
"#;
    let user = User::new(vec![("POST", "/push", Answer::json(200, body))]);
    check(
        &user.run(&["push", "r.example/box:v1"]),
        0,
        "The push refers to repository [r.example/box]\naaaa: Preparing\naaaa: Pushed\nv1: digest: sha256:0000 size: 528\n",
        "",
    );
    assert_eq!(user.last().target, "/v1.51/images/r.example%2Fbox/push?tag=v1");
    let words = ["push", "-q", "--compression", "zstd", "--platform", "linux/arm/v7", "box"];
    check(&user.run(&words), 0, "docker.io/library/box:latest\n", "");
    assert_eq!(
        user.last().target,
        "/v1.51/images/box/push?tag=latest&platform=%7B%22architecture%22%3A%22arm%22%2C%22os%22%3A%22linux%22%2C%22variant%22%3A%22v7%22%7D&compression=zstd"
    );
    assert!(user.run(&["push", "-a", "box"]).status.success());
    assert_eq!(user.last().target, "/v1.51/images/box/push");
}

#[test]
fn a_search_is_a_table() {
    let found = r#"[{"star_count":7,"is_official":true,"name":"box","is_automated":false,"description":"A box\nof words that is longer than the column has room for"},
        {"star_count":0,"is_official":false,"name":"me/box","is_automated":false,"description":""}]"#;
    let user = User::new(vec![("GET", "/images/search", Answer::json(200, found))]);
    check(
        &user.run(&["search", "--limit", "5", "-f", "stars=3", "box"]),
        0,
        "NAME      DESCRIPTION                                     STARS     OFFICIAL\n\
         box       A box of words that is longer than the colum…   7         [OK]\n\
         me/box                                                    0         \n",
        "",
    );
    assert_eq!(
        user.last().target,
        "/v1.51/images/search?term=box&limit=5&filters=%7B%22stars%22%3A%7B%223%22%3Atrue%7D%7D"
    );
    let output = user.run(&["search", "--format", "json", "box"]);
    let first = String::from_utf8(output.stdout).unwrap();
    assert!(
        first.starts_with(
            r#"{"Description":"A box of words that is longer than the colum…","IsAutomated""#
        ),
        "{first}"
    );
}

#[test]
fn a_container_whose_image_is_missing_comes_after_a_pull() {
    let missing = Answer::json(404, r#"{"message":"No such image: r.example/team/app:v1"}"#);
    let created = || Answer::json(201, &format!(r#"{{"Id":"{ID}","Warnings":null}}"#));
    let script = || {
        vec![
            ("POST", "/containers/create", missing.clone().once()),
            pull(PULL),
            ("POST", "/containers/create", created()),
            ("POST", "/start", Answer::empty(204)),
        ]
    };
    let user = User::new(script());
    let stderr = format!("Unable to find image 'r.example/team/app:v1' locally\n{PULLED}");
    check(&user.run(&["create", "r.example/team/app:v1", "sh"]), 0, &format!("{ID}\n"), &stderr);
    let targets: Vec<String> = user.engine.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets.len(), 3);
    assert!(targets[1].ends_with("fromImage=r.example%2Fteam%2Fapp&tag=v1"), "{targets:?}");
    let user = User::new(script());
    check(&user.run(&["run", "-dq", "r.example/team/app:v1"]), 0, &format!("{ID}\n"), "");
    let user = User::new(script());
    let never = ["run", "--pull", "never", "r.example/team/app:v1"];
    check(&user.run(&never), 125, "", "hull: No such image: r.example/team/app:v1\n");
    assert_eq!(user.engine.requests().len(), 1);
    let user = User::new(script().into_iter().skip(1).collect());
    check(
        &user.run(&["create", "--pull=always", "r.example/team/app:v1"]),
        0,
        &format!("{ID}\n"),
        PULLED,
    );
    // What else is not there is no reason for a pull; a pull that fails is an engine's failure.
    let other = Answer::json(404, r#"{"message":"No such container: data"}"#);
    let user = User::new(vec![("POST", "/containers/create", other)]);
    check(
        &user.run(&["run", "--volumes-from", "data", "box"]),
        125,
        "",
        "hull: No such container: data\n",
    );
    let user = User::new(vec![
        ("POST", "/containers/create", missing.clone()),
        pull(r#"{"error":"broken"}"#),
    ]);
    check(&user.run(&["run", "-q", "box"]), 125, "", "hull: broken\n");
}

#[test]
fn lists_are_drafted_and_pushed() {
    let manifest =
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let digest = "sha256:cfa1d3c7fbdb5ac1cb16d9b8c8ad12ad5bfbd1d0e4a3b0ee7d66e9a3a9d6d0b0";
    let seen = format!(
        r#"{{"Descriptor":{{"mediaType":"{kind}","digest":"{digest}","size":77}},"Platforms":[{{"architecture":"amd64","os":"linux"}}]}}"#
    );
    let user = User::new(vec![
        ("PUT", "/manifest", Answer::empty(201)),
        ("GET", "/manifest", Answer::json(200, manifest).of_kind(kind)),
        ("GET", "/json", Answer::json(200, &seen)),
    ]);
    let list = "r.example/list:v1";
    let created = "Created manifest list r.example/list:v1\n";
    check(&user.run(&["manifest", "create", list, "r.example/app:amd64"]), 0, created, "");
    let again = "hull: refusing to amend an existing manifest list with no --amend flag\n";
    check(&user.run(&["manifest", "create", list, "r.example/app:amd64"]), 1, "", again);
    let arm = ["manifest", "create", "--amend", list, "r.example/app:arm"];
    check(&user.run(&arm), 0, created, "");
    let annotate = |words: &[&str]| user.run(&[&["manifest", "annotate"], words].concat());
    let missing = "hull: manifest for image r.example/app:no does not exist in r.example/list:v1\n";
    check(&annotate(&[list, "r.example/app:no"]), 1, "", missing);
    let odd = "hull: manifest entry for image has unsupported os/arch combination: linux/x87\n";
    check(&annotate(&["--arch", "x87", list, "r.example/app:arm"]), 1, "", odd);
    check(
        &annotate(&[
            "--arch",
            "arm",
            "--variant",
            "v7",
            "--os-features",
            "a,b",
            list,
            "r.example/app:arm",
        ]),
        0,
        "",
        "",
    );
    let output = user.run(&["manifest", "inspect", list]);
    let text = String::from_utf8(output.stdout).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(parsed["manifests"][1]["platform"]["variant"], "v7");
    assert_eq!(parsed["manifests"][1]["platform"]["os.features"], serde_json::json!(["a", "b"]));
    let output = user.run(&["manifest", "inspect", "-v", list, "r.example/app:arm"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["OCIManifest"]["schemaVersion"], 2);
    let before = user.engine.requests().len();
    let output = user.run(&["manifest", "push", "--purge", list]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.starts_with("Pushed ref r.example/list@sha256:"), "{said}");
    let requests = user.engine.requests().split_off(before);
    assert_eq!(requests.iter().filter(|request| request.method == "PUT").count(), 3);
    assert!(requests[0].target.ends_with("/manifest?from=app"), "{}", requests[0].target);
    assert_eq!(
        (requests[0].body.as_slice(), requests[0].header("content-type")),
        (manifest.as_bytes(), kind)
    );
    let sent = requests.last().unwrap();
    assert_eq!(sent.target, "/v1.51/distribution/r.example%2Flist%3Av1/manifest");
    assert_eq!(String::from_utf8(sent.body.clone()).unwrap(), text.trim_end());
    check(
        &user.run(&["manifest", "rm", list]),
        1,
        "",
        "hull: No such manifest: r.example/list:v1\n",
    );
    let other = "hull: cannot use source images from a different registry than the target image: s.example != r.example\n";
    assert!(user.run(&["manifest", "create", list, "s.example/app"]).status.success());
    check(&user.run(&["manifest", "push", list]), 1, "", other);
    check(&user.run(&["manifest", "rm", list]), 0, "", "");
}

#[test]
fn an_engine_without_manifests_is_not_the_only_one() {
    let user = User::new(vec![]);
    let mut command = user.command(&["manifest", "inspect", "127.0.0.1:1/box"]);
    for name in ["HULL_DATA_ROOT", "HULL_EXEC_ROOT"] {
        command.env(name, user.engine.folder().join(name));
    }
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // The engine of this process is asked, which nobody but root has.
    let told = stderr.contains("the engine has no way to read and write manifests");
    assert_eq!(told, !rustix::process::geteuid().is_root(), "{stderr}");
    assert!(output.status.code() == Some(1) && !stderr.contains("page not found"), "{stderr}");
}

fn step(id: &str, status: &str, detail: &str) -> String {
    format!(r#"{{"status":"{status}","progressDetail":{detail},"id":"{id}"}}"#)
}

#[test]
fn layers_have_rows_on_a_terminal() {
    let moving = |current: u64| {
        step("aaaa", "Downloading", &format!(r#"{{"current":{current},"total":50000000}}"#))
    };
    let lines = [
        r#"{"status":"Pulling from team/app","id":"v1"}"#.to_owned()
            + "\n"
            + &step("aaaa", "Pulling fs layer", "{}"),
        step("bbbb", "Already exists", "{}") + "\n" + &moving(10_000_000),
        moving(25_000_000),
        step("aaaa", "Download complete", "{}") + "\n" + &step("aaaa", "Pull complete", "{}"),
        r#"{"status":"Digest: sha256:0000"}"#.to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (answer, next) = Answer::lines(&lines);
    let user = User::new(vec![("POST", "/images/create", answer)]);
    let mut terminal = Terminal::start(&user.command(&["pull", "r.example/team/app:v1"]), 100, 20);
    terminal.expect("v1: Pulling from team/app");
    terminal.expect("Pulling fs layer");
    next.send(()).unwrap();
    terminal.expect("10MB/50MB");
    terminal.expect("1 of 2 layers");
    next.send(()).unwrap();
    terminal.expect("] ");
    terminal.expect("50%");
    // The window becomes narrower: what was one row is two now, and there is no room for a bar.
    terminal.resize(60, 20);
    terminal.expect("\x1b[5A\x1b[J");
    terminal.resize(100, 20);
    next.send(()).unwrap();
    terminal.expect("Pull complete");
    next.send(()).unwrap();
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    let after = shown.rfind("\x1b[J").unwrap();
    let last = shown[..after].rfind("\x1b[3A").or_else(|| shown[..after].rfind("\x1b[2A"));
    assert!(last.is_some(), "{shown}");
    let end = Screen::of(&shown[last.unwrap() + 4..], 100, 20).text().join("\n");
    assert!(
        end.contains(
            "aaaa          Pull complete\nbbbb          Already exists\n1 layer, 50MB in "
        ),
        "{end}"
    );
    assert!(end.ends_with("; 1 was there\nDigest: sha256:0000\nr.example/team/app:v1\n"), "{end}");
    assert!(
        shown.contains("\x1b[34mDownloading\x1b[0m") && shown.contains("\x1b[32mPull complete"),
        "{shown}"
    );
}

#[test]
fn more_layers_than_rows_stay_in_the_window() {
    let mut lines = vec![r#"{"status":"Pulling from team/app","id":"v1"}"#.to_owned()];
    lines.extend((10..40).map(|number| step(&format!("layer{number}"), "Waiting", "{}")));
    let first = lines.join("\n");
    let second = step("layer39", "Downloading", r#"{"current":1000000,"total":2000000}"#);
    let third: Vec<String> =
        (10..40).map(|number| step(&format!("layer{number}"), "Pull complete", "{}")).collect();
    let third = third.join("\n") + "\n" + r#"{"status":"Digest: sha256:0000"}"#;
    let (answer, next) = Answer::lines(&[&first, &second, &third]);
    let user = User::new(vec![("POST", "/images/create", answer)]);
    let mut command = user.command(&["pull", "r.example/team/app:v1"]);
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::start(&command, 90, 8);
    terminal.expect("total         0 of 30 layers");
    next.send(()).unwrap();
    terminal.expect("layer39       Downloading         [");
    terminal.expect("and 25 more: 25 waiting");
    next.send(()).unwrap();
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("\x1b[3") && !shown.contains("\x1b[2m"), "{shown}");
    let text = Screen::of(&shown, 90, 8).text();
    assert_eq!(text[0], "v1: Pulling from team/app");
    let text = text[1..].join("\n");
    assert_eq!(
        text,
        "layer10       Pull complete\nlayer11       Pull complete\nlayer12       Pull complete\n\
         layer13       Pull complete\nlayer14       Pull complete\nlayer15       Pull complete\n\
         and 24 more: 24 done\n30 layers, 2MB in "
            .to_owned()
            + text.split_once("2MB in ").unwrap().1
    );
    assert!(text.ends_with("\nDigest: sha256:0000\nr.example/team/app:v1\n"), "{text}");
}

#[test]
fn ctrl_c_ends_a_pull_and_says_how_it_goes_on() {
    for (engine, said) in [("Hull", true), ("Docker Engine", false)] {
        let lines = [step("aaaa", "Downloading", r#"{"current":1,"total":9}"#), "{}".to_owned()];
        let (answer, _gate) = Answer::lines(&[&lines[0], &lines[1]]);
        let version = format!(r#"{{"Platform":{{"Name":"{engine}"}},"Version":"1"}}"#);
        let user = User::new(vec![
            ("POST", "/images/create", answer),
            ("GET", "/version", Answer::json(200, &version)),
        ]);
        let mut terminal = Terminal::start(&user.command(&["pull", "r.example/app:v1"]), 80, 24);
        terminal.expect("Downloading");
        terminal.send("\x03");
        let (code, shown) = terminal.finish();
        assert_eq!(code, 130, "{shown}");
        let words = "interrupted: the next pull continues where this one ended\r\n";
        assert_eq!(shown.ends_with(words), said, "{shown}");
    }
}

#[test]
fn what_a_registry_knows_of_an_image_is_inspected() {
    let seen = r#"{"Descriptor":{"mediaType":"m","digest":"sha256:0000","size":5},"Platforms":[]}"#;
    let user = User::new(vec![("GET", "/distribution/", Answer::json(200, seen))]);
    check(
        &user.run(&[
            "image",
            "inspect",
            "--remote",
            "-f",
            "{{.Descriptor.digest}}",
            "r.example/box",
        ]),
        0,
        "sha256:0000\n",
        "",
    );
    assert_eq!(user.last().target, "/v1.51/distribution/r.example%2Fbox/json");
}
