//! Ways out of a running container that worked elsewhere.

use std::os::fd::{AsRawFd, OwnedFd};

use hull_test_support::archive::Tar;
use hull_test_support::busybox::{base_tar, probe_image, static_busybox};
use hull_test_support::image::{Compression, Image};
use hull_test_support::{Hull, leaks};
use serde_json::json;

/// CVE-2016-9962: between joining and exec, a process held descriptors of the host that the
/// container's root could open through /proc.
#[test]
fn privileged_cve_2016_9962_descriptors_of_an_entering_process() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; \
        for f in $p/fd/*; do t=$(readlink $f 2>/dev/null) || continue; case $t in \
        pipe:*|socket:*|/dev/null|/dev/pts/*|/proc/*|/bin/busybox|'') ;; *) echo FOUND $p $t ;; esac; \
        done; done; done";
    hull.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    for _ in 0..60 {
        hull.ok(&["exec", "box", "true"]);
    }
    let found = hull.ok(&["logs", "box"]);
    assert_eq!(found, "", "descriptors that are not the container's own");
    hull.finish();
}

/// CVE-2019-5736: a container overwrote the engine's program through /proc/self/exe.
#[test]
fn privileged_cve_2019_5736_the_engines_program_cannot_be_written() {
    let Some(hull) = Hull::new() else { return };
    let Some(busybox) = static_busybox() else { return };
    let tar = base_tar()
        .file("bin/busybox", 0o755, &std::fs::read(busybox).unwrap())
        .symlink("bin/sh", "busybox")
        .symlink("self", "/proc/self/exe")
        .file("script", 0o755, b"#!/proc/self/exe\n")
        .finish();
    hull.load(&Image::new().layer(tar, Compression::Gzip), "evil");
    let digests = || -> Vec<Vec<u8>> {
        ["hull", "hull-shim", "hull-worker"]
            .iter()
            .map(|name| std::fs::read(hull.programs().join(name)).unwrap())
            .collect()
    };
    let before = digests();
    // Whatever these do, no program of the engine may run as the container.
    for entry in ["/self", "/script", "/proc/self/exe"] {
        let output = hull.run(&["run", "--rm", "evil", entry, "--version"]);
        assert_ne!(output.code, 0, "{entry}: {}", output.stdout);
        assert!(!output.stdout.to_lowercase().contains("hull"), "{entry}: {}", output.stdout);
    }
    let script = "for n in 1 2 3 4 5 6 7 8; do for p in /proc/[0-9]*; do \
        (echo overwritten > $p/exe) 2>/dev/null; done; done; echo done";
    hull.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "evil",
        "sh",
        "-c",
        &format!("while :; do {script}; done"),
    ]);
    for _ in 0..30 {
        hull.run(&["exec", "box", "/self"]);
        hull.run(&["exec", "box", "/bin/sh", "-c", "true"]);
    }
    assert!(digests() == before, "a program of the engine was changed");
    hull.finish();
}

/// CVE-2024-21626: a descriptor of the host stayed open, and the working directory led through it.
#[test]
fn privileged_cve_2024_21626_working_directory_through_a_descriptor() {
    let Some(hull) = Hull::with_busybox() else { return };
    // As careless a caller as can be: forty open folders without close-on-exec.
    let folders: Vec<OwnedFd> = (0..40).map(|_| std::fs::File::open("/").unwrap().into()).collect();
    for folder in &folders {
        hull_test_support::keep_open_at_exec(folder);
    }
    let highest = folders.iter().map(AsRawFd::as_raw_fd).max().unwrap();
    hull.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    for number in 3..=highest + 2 {
        let folder = format!("/proc/self/fd/{number}");
        for words in [
            &["run", "--rm", "-w", &folder, "busybox", "ls", "/proc/self/cwd/"][..],
            &["exec", "-w", &folder, "box", "ls", "/proc/self/cwd/"],
        ] {
            let output = hull.run(words);
            let outside = output.stdout.lines().any(|line| line == "boot" || line == "lib64");
            assert!(!outside, "{words:?} shows the host:\n{}", output.stdout);
        }
    }
    let view = hull.json(&["run", "--rm", "busybox", "/probe"]);
    let open: Vec<_> = view["descriptors"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"]);
    hull.finish();
}

/// CVE-2022-29162, CVE-2022-24769, CVE-2022-27649, CVE-2022-27650, CVE-2025-27612: capabilities
/// that a program inherits without being given them.
#[test]
fn privileged_cve_2022_29162_no_inheritable_capabilities() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
    let views = [
        hull.view(&[]),
        hull.view(&["-u", "33"]),
        hull.view(&["--cap-add", "ALL"]),
        hull.view(&["--privileged"]),
        hull.json(&["exec", "box", "/probe"]),
        hull.json(&["exec", "-u", "33", "box", "/probe"]),
        hull.json(&["exec", "--privileged", "box", "/probe"]),
    ];
    for view in views {
        assert_eq!(view["capabilities"]["inheritable"], 0);
        assert_eq!(view["capabilities"]["ambient"], 0);
    }
    hull.finish();
}

/// CVE-2022-0492, CVE-2023-25809: a writable cgroup, or one mounted anew, with a release agent.
#[test]
fn privileged_cve_2022_0492_cgroups_cannot_be_written() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "for f in $(ls -d /sys/fs/cgroup/* /sys/fs/cgroup/*/release_agent \
        /sys/fs/cgroup/*/notify_on_release /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs \
        2>/dev/null); do [ -f $f ] && (echo 0 > $f) 2>/dev/null && echo WRITTEN $f; done; \
        mkdir -p /m; mount -t cgroup -o memory none /m && echo MOUNTED; \
        mount -t cgroup2 none /m && echo MOUNTED; mkdir /sys/fs/cgroup/x && echo MADE; true";
    assert_eq!(hull.ok(&["run", "--rm", "busybox", "sh", "-c", script]), "");
    hull.finish();
}

/// CVE-2024-40635, CVE-2026-46680, CVE-2026-30892: numbers that became other numbers, or names.
#[test]
fn privileged_cve_2024_40635_user_numbers_are_strict() {
    let Some(hull) = Hull::new() else { return };
    let passwd = "root:x:0:0::/:/x\n4294967296:x:0:0::/:/x\n0x0:x:0:0::/:/x\n-1:x:0:0::/:/x\n\
        4294967295:x:0:0::/:/x\n";
    let tar = base_tar().file("etc/passwd", 0o644, passwd.as_bytes()).finish();
    let image = Image::new().layer(tar, Compression::Gzip);
    hull.load(&image, "image");
    for user in [
        "4294967296",
        "4294967295",
        "-1",
        "0x0",
        " 0",
        "0 ",
        "1000:",
        "\u{661}",
        "99999999999999999999",
    ] {
        let output = hull.run(&["run", "--rm", &format!("--user={user}"), "image", "/probe"]);
        assert_eq!(output.code, 125, "{user:?}: {}", output.stdout);
        hull.load(&image.clone().set("User", json!(user)), "by-image");
        let output = hull.run(&["run", "--rm", "by-image", "/probe"]);
        assert_eq!(output.code, 125, "{user:?} of an image: {}", output.stdout);
    }
    hull.assert_nothing_left();
    hull.finish();
}

/// CVE-2026-47262, CVE-2024-9676: account files that are huge, endless or somebody else's.
#[test]
fn privileged_cve_2026_47262_hostile_account_files() {
    let Some(hull) = Hull::new() else { return };
    let outside = hull.folder().join("passwd-of-the-host");
    std::fs::write(&outside, "leaked:x:4711:0::/:/x\n").unwrap();
    let base = || {
        let probe = std::fs::read(hull.programs().join("hull-probe")).unwrap();
        Tar::new().directory("etc/", 0o755).file("probe", 0o755, &probe)
    };
    let huge = vec![b'\n'; 64 << 20];
    let one_line = vec![b'x'; 2 << 20];
    let fifo = hull_test_support::archive::Entry {
        name: "etc/passwd",
        kind: hull_test_support::archive::FIFO,
        ..Default::default()
    };
    for (name, tar) in [
        ("huge", base().file("etc/passwd", 0o644, &huge)),
        ("one line", base().file("etc/passwd", 0o644, &one_line)),
        ("pipe", base().entry(&fifo)),
        ("folder", base().directory("etc/passwd/", 0o755)),
        ("link out", base().symlink("etc/passwd", &outside.display().to_string())),
        ("link to a device", base().symlink("etc/passwd", "/dev/zero")),
        ("loop", base().symlink("etc/passwd", "passwd")),
    ] {
        hull.load(&Image::new().layer(tar.finish(), Compression::Gzip), "image");
        let start = std::time::Instant::now();
        let output = hull.run(&["run", "--rm", "-u", "leaked", "image", "/probe"]);
        assert_eq!(output.code, 125, "{name}: {}{}", output.stdout, output.stderr);
        assert!(start.elapsed().as_secs() < 20, "{name}: {:?}", start.elapsed());
        hull.assert_nothing_left();
    }
    hull.finish();
}

/// CVE-2026-31431 and its kind: kernel interfaces that the default profile closes, asked for in
/// every way a 64-bit process has.
#[test]
fn privileged_cve_2026_31431_closed_socket_families() {
    let Some(hull) = Hull::with_probe() else { return };
    for options in [&[][..], &["-u", "1000"], &["--cap-add", "ALL"]] {
        let view = hull.view(options);
        let calls = &view["calls"];
        assert_eq!(calls["SocketAlg"], "EPERM", "{options:?}");
        assert_eq!(calls["SocketVsock"], "EPERM", "{options:?}");
        assert_eq!(calls["Getpid32"], "ENOSYS", "{options:?}");
        assert_eq!(calls["GetpidX32"], "ENOSYS", "{options:?}");
        assert_eq!(calls["Keyctl"], "EPERM", "{options:?}");
        assert_eq!(calls["IoUringSetup"], "EPERM", "{options:?}");
    }
    hull.finish();
}

/// CVE-2022-0811, CVE-2023-6476, CVE-2024-3154: labels and environment are data.
#[test]
fn privileged_cve_2023_6476_labels_and_environment_are_data() {
    let Some(hull) = Hull::new() else { return };
    let image = probe_image()
        .set(
            "Labels",
            json!({
                "org.systemd.property.ExecStartPre": "'touch /tmp/evil'",
                "run.oci.keep_original_groups": "1",
                "hull.privileged": "true",
            }),
        )
        .set(
            "Env",
            json!([
                "PATH=/bin",
                "LD_PRELOAD=/proc/self/cwd/evil.so",
                "HULL_DATA_ROOT=/evil",
                "DOCKER_HOST=tcp://evil",
                "RUST_LOG=trace",
                "HULL_LAYER_MODE=nonsense",
            ]),
        );
    hull.load(&image, "image");
    let view = hull.json(&["run", "--rm", "image", "/probe"]);
    assert_eq!(view["no_new_privs"], 1);
    assert!(view["uid_map"][0][1].as_u64().unwrap() >= 65536);
    hull.finish();
}

/// CVE-2021-41091, CVE-2021-41103, CVE-2024-25621: state that every user of the host could enter.
#[test]
fn privileged_cve_2021_41091_state_is_closed_to_others() {
    use std::os::unix::fs::MetadataExt;
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
    // The exec root itself may be entered: a socket for others will lie there. What holds trees
    // and state may not.
    let inside = std::fs::read_dir(hull.exec_root()).unwrap().flatten().map(|entry| entry.path());
    for folder in inside.chain([hull.data_root()]).filter(|path| path.is_dir()) {
        let metadata = std::fs::metadata(&folder).unwrap();
        assert_eq!(metadata.mode() & 0o077, 0, "{} is open to others", folder.display());
        assert_eq!(metadata.uid(), 0);
    }
    hull.finish();
}

/// The processes of a container are in their cgroup, all of them, and end with it.
#[test]
fn privileged_no_process_leaves_its_cgroup() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "for n in 1 2 3; do (sh -c 'sleep 1000 & sleep 1000' &) ; done; sleep 1000";
    let id = hull.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    hull.ok(&["exec", "-d", "box", "sleep", "1000"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let view = hull.json(&["exec", "box", "/probe"]);
    // All but the probe itself.
    let expected = view["processes"].as_array().unwrap().len() - 1;
    let cgroup = leaks::cgroups().into_iter().find(|path| path.ends_with(&id)).unwrap();
    let members = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    assert_eq!(members.lines().count(), expected, "{members}");
    let members: Vec<i32> = members.lines().map(|line| line.parse().unwrap()).collect();
    hull.ok(&["rm", "-f", "box"]);
    for pid in members {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} lives on");
    }
    hull.finish();
}
