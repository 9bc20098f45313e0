//! Real software, on the root file systems that `cargo xtask fixtures` makes.

use std::path::PathBuf;
use std::process::Command;

use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, needs};
use serde_json::json;

use crate::driver::Builds;

fn with(fixtures: &[&str]) -> Option<Builds> {
    if !needs::root() {
        return None;
    }
    let tars: Vec<_> = fixtures
        .iter()
        .map(|name| needs::fixture(&format!("{name}.tar")))
        .collect::<Option<_>>()?;
    let hull = Hull::new()?;
    for (name, tar) in std::iter::zip(fixtures, tars) {
        hull.ok(&["import", &tar.display().to_string(), name]);
    }
    let daemon = Daemon::start(&hull);
    Some(Builds { daemon, hull })
}

#[test]
fn privileged_apt_installs_as_root_of_its_own_ids() {
    let Some(builds) = with(&["debian"]) else { return };
    builds.build(
        "apt",
        &[
            (
                "Dockerfile",
                "FROM debian\nCOPY pkg /pkg\n\
                 RUN chmod 755 /pkg/DEBIAN /pkg/DEBIAN/postinst && dpkg-deb --root-owner-group -b /pkg /tmp/own.deb\n\
                 RUN apt-get install -y /tmp/own.deb\n\
                 RUN id own && stat -c '%U %a' /var/lib/own /usr/bin/own-program > /seen\n",
            ),
            (
                "pkg/DEBIAN/control",
                "Package: own\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: own\n",
            ),
            (
                "pkg/DEBIAN/postinst",
                "#!/bin/sh\nset -e\nuseradd --system --home-dir /var/lib/own own\ninstall -d -o own -m 750 /var/lib/own\n\
                 chown own /usr/bin/own-program\nchmod 4755 /usr/bin/own-program\n",
            ),
            ("pkg/usr/bin/own-program", "#!/bin/sh\necho installed\n"),
        ],
    );
    assert_eq!(builds.sh("apt", "cat /seen; own-program"), "own 750\nown 4755\ninstalled\n");
    assert!(builds.sh("apt", "dpkg -s own").contains("Status: install ok installed"));
    assert!(builds.again("apt").cached("apt-get install"));
    builds.finish();
}

#[test]
fn privileged_a_c_program_in_two_stages() {
    let Some(builds) = with(&["toolchain"]) else { return };
    builds.build(
        "c",
        &[
            (
                "Dockerfile",
                "FROM toolchain AS build\nWORKDIR /src\nCOPY main.c .\n\
                 RUN --mount=type=tmpfs,target=/tmp cc -O2 -static -o /out/hello main.c 2>/dev/null || \
                 { mkdir -p /out && cc -O2 -static -o /out/hello main.c; }\n\
                 FROM scratch\nCOPY --from=build /out/hello /hello\nENTRYPOINT [\"/hello\"]\n",
            ),
            ("main.c", "#include <stdio.h>\nint main(int n, char **v) { printf(\"hello %s\\n\", v[1]); return 0; }\n"),
        ],
    );
    assert_eq!(builds.hull.ok(&["run", "--rm", "c", "world"]), "hello world");
    let size = builds.hull.ok(&["image", "inspect", "--format", "{{.Size}}", "c"]);
    assert!(size.parse::<u64>().unwrap() < 4 << 20, "{size}");
    builds.finish();
}

/// An agent answers root and its own user; the process in the container is neither.
#[test]
fn privileged_an_ssh_agent_answers_users_that_are_not_root() {
    use std::io::{Read as _, Write as _};
    let Some(builds) = with(&["debian"]) else { return };
    let socket = builds.hull.folder().join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let agent = std::thread::spawn(move || {
        (0..2)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                let peer = rustix::net::sockopt::socket_peercred(&stream).unwrap();
                let mut asked = [0; 5];
                stream.read_exact(&mut asked).unwrap();
                stream.write_all(&[b"answer to ", &asked[..]].concat()).unwrap();
                peer.uid.as_raw()
            })
            .collect::<Vec<_>>()
    });
    let ask = "import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['SSH_AUTH_SOCK']); \
               s.sendall(b'keys?'); print(s.makefile().read())";
    let text = format!(
        "FROM debian\nUSER www-data\n\
         RUN --mount=type=ssh ! python3 -c \"{ask}\" 2>/tmp/refused && grep -q Permission /tmp/refused\n\
         RUN --mount=type=ssh,uid=33,gid=33,mode=0600 stat -c '%u %g %a' $SSH_AUTH_SOCK > /tmp/seen && python3 -c \"{ask}\" >> /tmp/seen\n\
         RUN --mount=type=ssh,mode=0666,target=/tmp/own python3 -c \"{ask}\" >> /tmp/seen && echo $SSH_AUTH_SOCK >> /tmp/seen\n"
    );
    builds.context("ssh", &[("Dockerfile", &text)]);
    builds.with("ssh", json!({"ssh": {"default": socket}}));
    let seen = builds.sh("ssh", "cat /tmp/seen");
    assert_eq!(seen, "33 33 600\nanswer to keys?\nanswer to keys?\n/tmp/own\n");
    assert_eq!(agent.join().unwrap(), [0, 0], "the agent sees the engine's user");
    builds.finish();
}

/// The compiler that is here, as a named context: nothing of it gets into a layer.
#[test]
fn privileged_a_rust_program_in_two_stages() {
    let Some(sysroot) = sysroot() else { return };
    let Some(builds) = with(&["toolchain"]) else { return };
    let files = [
        (
            "Dockerfile",
            "FROM toolchain AS build\nWORKDIR /src\nCOPY Cargo.toml .\nCOPY src src\n\
             ENV PATH=/rust/bin:/usr/bin:/bin CARGO_HOME=/cargo RUSTFLAGS='-C target-feature=+crt-static'\n\
             RUN --mount=from=rust,source=bin,target=/rust/bin --mount=from=rust,source=lib,target=/rust/lib \
             --mount=type=cache,target=/src/target \
             cargo test --offline --quiet && cargo build --release --offline && cp target/release/words /words\n\
             FROM scratch\nCOPY --from=build /words /words\nENTRYPOINT [\"/words\"]\n",
        ),
        ("Cargo.toml", "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
        (
            "src/main.rs",
            "mod count;\nfn main() {\n    let texts: Vec<String> = std::env::args().skip(1).collect();\n    \
             let threads = texts.into_iter().map(|text| std::thread::spawn(move || count::words(&text)));\n    \
             let counted: Vec<_> = threads.collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect();\n    \
             println!(\"{counted:?}\");\n}\n",
        ),
        (
            "src/count.rs",
            "use std::collections::BTreeMap;\npub fn words(text: &str) -> BTreeMap<String, usize> {\n    \
             let mut all = BTreeMap::new();\n    \
             text.split_whitespace().for_each(|word| *all.entry(word.to_owned()).or_default() += 1);\n    all\n}\n\
             #[test]\nfn counts() { assert_eq!(words(\"a b a\")[\"a\"], 2); }\n",
        ),
    ];
    builds.context("words", &files);
    let with_compiler = json!({"contexts": {"rust": sysroot}});
    let first = builds.with("words", with_compiler.clone());
    assert!(first.output.contains("test result: ok. 1 passed"), "{}", first.output);
    let said = builds.hull.ok(&["run", "--rm", "words", "to be or not to be", "one"]);
    assert_eq!(said, r#"[{"be": 2, "not": 1, "or": 1, "to": 2}, {"one": 1}]"#);
    let size = builds.hull.ok(&["image", "inspect", "--format", "{{.Size}}", "words"]);
    assert!(size.parse::<u64>().unwrap() < 16 << 20, "{size}");
    assert!(builds.with("words", with_compiler).cached("cargo build"));
    builds.finish();
}

/// Where the compiler of this host lies; says so if there is none that runs on the fixtures.
fn sysroot() -> Option<PathBuf> {
    let asked = Command::new("rustc").args(["--print", "sysroot"]).output();
    let Some(output) = asked.ok().filter(|output| output.status.success()) else {
        needs::skip("no rustc");
        return None;
    };
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let complete = sysroot.join("lib/rustlib").join(&target).is_dir()
        && sysroot.join("bin/cargo").exists()
        && sysroot.join("bin/rustc").exists();
    if !complete {
        needs::skip(&format!("rustc has no cargo or no library for {target}"));
        return None;
    }
    Some(sysroot)
}

#[test]
fn privileged_postgres_and_a_python_application() {
    let Some(builds) = with(&["debian"]) else { return };
    builds.build(
        "postgres",
        &[(
            "Dockerfile",
            "FROM debian AS postgres-like\nRUN install -d -o postgres /data /run/postgresql\nUSER postgres\n\
             RUN $(echo /usr/lib/postgresql/*/bin)/initdb -D /data > /dev/null\nENTRYPOINT [\"sh\", \"-c\"]\n\
             CMD [\"exec $(echo /usr/lib/postgresql/*/bin)/postgres -D /data -c unix_socket_directories=/tmp -c listen_addresses=\"]\n\
             FROM postgres-like\nENV POSTGRES_USER myuser\nEXPOSE 5432\n",
        )],
    );
    assert!(builds.config("postgres", "Env").contains("POSTGRES_USER=myuser"));
    assert_eq!(builds.config("postgres", "ExposedPorts"), r#"{"5432/tcp":{}}"#);
    builds.hull.ok(&["run", "-d", "--name", "db", "postgres"]);
    builds.hull.wait_for_log("db", "ready to accept connections");
    let answer =
        builds.hull.ok(&["exec", "db", "psql", "-h", "/tmp", "-Atc", "select 6 * 7", "postgres"]);
    assert_eq!(answer, "42");
    builds.hull.ok(&["rm", "-f", "db"]);

    builds.build(
        "python",
        &[
            (
                "Dockerfile",
                "FROM debian\nWORKDIR /app\nCOPY app.py .\n\
                 RUN --mount=type=cache,target=/root/.cache python3 -c \"import pathlib, time; p = pathlib.Path('/root/.cache/made'); p.touch(); p.write_text(p.read_text() + 'x'); print(len(p.read_text()))\" > built\n\
                 CMD [\"python3\", \"app.py\"]\n",
            ),
            ("app.py", "print('built', open('built').read().strip())\n"),
        ],
    );
    assert_eq!(builds.hull.ok(&["run", "--rm", "python"]), "built 1");
    builds.with("python", serde_json::json!({"no_cache": true}));
    assert_eq!(builds.hull.ok(&["run", "--rm", "python"]), "built 2");
    builds.finish();
}
