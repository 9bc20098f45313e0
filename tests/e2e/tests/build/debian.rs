//! Real software, on the root file systems that `cargo xtask fixtures` makes.

use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, needs};

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
