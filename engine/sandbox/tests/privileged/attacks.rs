//! Attacks of the past, by their CVE numbers.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::symlink;

use hull_sandbox::spec::{Mount, MountSource, SuppliedFile};
use hull_sandbox::{StartErrorKind, Stdio};

use crate::Test;
use crate::container::{Container, exec, process, stop};

pub(crate) const TESTS: &[Test] = &[
    ("privileged_cve_2016_9962_exec_cannot_be_looked_into", exec_cannot_be_looked_into),
    ("privileged_cve_2019_16884_volume_over_proc", volume_over_proc),
    ("privileged_cve_2019_19921_links_for_proc_and_sys", links_for_proc_and_sys),
    ("privileged_cve_2022_0492_cgroups_are_not_writable", cgroups_are_not_writable),
    ("privileged_cve_2022_24769_nothing_to_inherit", nothing_to_inherit),
    ("privileged_cve_2024_21626_inherited_descriptors", inherited_descriptors),
    ("privileged_cve_2024_21626_working_directory", working_directory),
    ("privileged_cve_2024_45310_mount_targets_behind_links", mount_targets_behind_links),
    ("privileged_cve_2025_31133_masks_are_ours", masks_are_ours),
    ("privileged_cve_2026_41579_links_for_dev", links_for_dev),
    ("privileged_cve_2026_47262_account_files", account_files),
    ("privileged_cve_2019_5736_own_program_is_out_of_reach", own_program_is_out_of_reach),
];

/// A directory of the host's that must stay as it is.
struct Canary(std::path::PathBuf);

impl Canary {
    fn new(container: &Container) -> Self {
        let path = container.host("canary");
        std::fs::write(path.join("file"), "alive").unwrap();
        Self(path)
    }

    fn assert_alive(&self) {
        let names: Vec<_> =
            std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
        assert_eq!(std::fs::read_to_string(self.0.join("file")).unwrap(), "alive");
    }
}

fn refused(container: &mut Container, name: &str) {
    let error = container.error();
    assert_eq!(error.kind, StartErrorKind::Invalid, "{error}");
    assert_eq!(
        error.message,
        format!("/{name} in the image is a symbolic link or a file: it must be a directory")
    );
}

fn links_for(names: &[&str]) {
    for name in names {
        for target in ["/etc", "../../../..", "/proc/self/cwd", "canary", "nowhere"] {
            let mut container = Container::new(&["true"]);
            let canary = Canary::new(&container);
            let target = if target == "canary" { canary.0.to_str().unwrap() } else { target };
            symlink(target, container.image(name)).unwrap();
            refused(&mut container, name);
            canary.assert_alive();
        }
        let mut container = Container::new(&["true"]);
        std::fs::write(container.image(name), "").unwrap();
        refused(&mut container, name);
    }
}

fn links_for_proc_and_sys() {
    links_for(&["proc", "sys"]);
}

fn links_for_dev() {
    links_for(&["dev"]);
    // What the image has beneath /dev is covered, links and all.
    let mut container = Container::new(&["ls", "/dev/shm"]);
    let canary = Canary::new(&container);
    std::fs::create_dir(container.image("dev")).unwrap();
    for name in ["shm", "pts", "mqueue", "null", "console", "ptmx"] {
        symlink(&canary.0, container.image(&format!("dev/{name}"))).unwrap();
    }
    container.spec.process.terminal = false;
    assert_eq!(container.output(), "\n");
    canary.assert_alive();
}

fn volume_over_proc() {
    for destination in ["/proc", "/proc/self/attr", "/link", "/proc/../proc/sys"] {
        let mut container = Container::new(&["true"]);
        symlink("/proc/self", container.image("link")).unwrap();
        let host = container.host("volume");
        container.bind(&host, destination, false, true);
        let error = container.error();
        assert_eq!(error.kind, StartErrorKind::Invalid, "{destination}: {error}");
    }
}

fn mount_targets_behind_links() {
    for target in ["/canary-link", "../../../../../../..", "/proc/self/root", "/proc/self/cwd"] {
        let mut container = Container::new(&["cat", "/proc/self/mountinfo"]);
        let canary = Canary::new(&container);
        symlink(&canary.0, container.image("canary-link")).unwrap();
        symlink(target, container.image("escape")).unwrap();
        let source = MountSource::Tmpfs { size: None, mode: None, exec: false };
        let destination = format!("/escape{}/made", canary.0.display());
        container.spec.mounts.push(Mount { destination, source, readonly: false });
        container
            .spec
            .files
            .push(SuppliedFile { path: "/escape/etc/hosts".into(), content: "evil".into() });
        match container.run() {
            Ok(ended) => assert!(ended.output.contains("/made"), "{}", ended.output),
            Err(error) => assert_eq!(error.kind, StartErrorKind::Invalid, "{target}: {error}"),
        }
        canary.assert_alive();
        assert!(!std::fs::read_to_string("/etc/hosts").unwrap_or_default().contains("evil"));
    }
}

fn masks_are_ours() {
    // A volume over /dev with a link for the null device: masks must not follow it.
    let mut container = Container::new(&["stat", "/proc/keys", "/proc/timer_list"]);
    let volume = container.host("volume");
    symlink("/proc/sys/kernel/core_pattern", volume.join("null")).unwrap();
    container.bind(&volume, "/dev", false, true);
    let error = container.error();
    assert!(error.message.contains("/dev/null"), "{error}");
    let (_reader, mut stdio) = crate::container::capture();
    stdio.stdin = Some(std::fs::File::open("/dev/null").unwrap().into());
    container.bind(&volume, "/dev", false, true);
    container.spec.mounts.remove(0);
    if let MountSource::Tree { tree, .. } = &mut container.spec.mounts[0].source {
        *tree = 0;
    }
    let running = container.start(stdio).unwrap();
    crate::container::wait(running.pidfd.as_fd());
    let mut output = String::new();
    drop(std::io::Read::read_to_string(&mut { _reader }, &mut output));
    assert!(output.lines().all(|line| line.contains("device 1:3")), "{output}");
    running.cgroup.remove().unwrap();
}

fn working_directory() {
    // Descriptors of the host's that a careless engine would leak.
    let host: Vec<std::fs::File> = (0..20).map(|_| std::fs::File::open("/").unwrap()).collect();
    for file in &host {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
    }
    let mut container = Container::new(&["cwd"]);
    symlink("/proc/self/fd/9", container.image("link")).unwrap();
    let mut directories: Vec<String> =
        (3..50).map(|number| format!("/proc/self/fd/{number}")).collect();
    directories.push("/link".to_owned());
    directories.push(format!("/proc/self/fd/{}/../..", host[0].as_raw_fd()));
    directories.push("/proc/self/cwd".to_owned());
    directories.push("/proc/1/root".to_owned());
    for directory in &directories {
        container.spec.process.cwd.clone_from(directory);
        let error = container.error();
        assert_eq!(error.kind, StartErrorKind::Invalid, "{directory}: {error}");
    }
    let mut sleeping = Container::new(&["sleep"]);
    let running = sleeping.start(Stdio::default()).unwrap();
    for directory in &directories[..30] {
        let mut process = process(&["cwd"]);
        process.cwd.clone_from(directory);
        assert_eq!(
            exec(&running, &process).unwrap_err().kind,
            StartErrorKind::Invalid,
            "{directory}"
        );
    }
    stop(&running);
}

fn inherited_descriptors() {
    let host: Vec<std::fs::File> = (0..40).map(|_| std::fs::File::open("/").unwrap()).collect();
    for file in &host {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
    }
    let only_streams = |text: &str| {
        let open: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().0).collect();
        assert_eq!(open, ["0", "1", "2"], "{text}");
        assert!(text.starts_with("0 /dev/null\n"), "{text}");
    };
    only_streams(&Container::new(&["fds"]).output());
    let mut init = Container::new(&["fds"]);
    init.spec.init = true;
    only_streams(&init.output());
    let mut container = Container::new(&["sleep"]);
    let running = container.start(Stdio::default()).unwrap();
    only_streams(&exec(&running, &process(&["fds"])).unwrap().output);
    stop(&running);
}

fn nothing_to_inherit() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    // A supervisor that was itself started with inheritable capabilities.
    let mut own = capabilities(None).unwrap();
    own.inheritable = own.permitted & CapabilitySet::all();
    set_capabilities(None, own).unwrap();
    let empty = |status: &str| {
        for name in ["CapInh", "CapAmb"] {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
    };
    for user in ["", "joe"] {
        for userns in [
            hull_sandbox::spec::UserNamespace::Host,
            hull_sandbox::spec::UserNamespace::Private { size: 65536 },
        ] {
            let mut container = Container::new(&["cat", "/proc/self/status"]);
            container.spec.userns = userns;
            container.spec.process.user = user.to_owned();
            container.spec.process.capabilities.push("CAP_NET_RAW".to_owned());
            empty(&container.output());
        }
    }
    let mut container = Container::new(&["sleep"]);
    let running = container.start(Stdio::default()).unwrap();
    empty(&exec(&running, &process(&["cat", "/proc/self/status"])).unwrap().output);
    stop(&running);
}

fn cgroups_are_not_writable() {
    for file in
        ["memory/cgroup.procs", "memory/notify_on_release", "unified/cgroup.procs", "pids/tasks"]
    {
        let path = format!("/sys/fs/cgroup/{file}");
        if !std::path::Path::new(&path).exists() {
            continue;
        }
        let mut container = Container::new(&["write", &path, "1"]);
        assert!(container.output().contains("Read-only"), "{path}");
    }
    // Only the root of a hierarchy has the file; ours looks like the root and is not.
    let mut container = Container::new(&["stat", "/sys/fs/cgroup/memory/release_agent"]);
    assert!(container.output().contains("No such file"));
}

fn exec_cannot_be_looked_into() {
    use hull_sandbox::spec::UserNamespace;
    for userns in [UserNamespace::Private { size: 65536 }, UserNamespace::Host] {
        // The container's own root reads what it can of processes that join.
        let mut container = Container::new(&["watch"]);
        container.spec.userns = userns;
        let (mut reader, stdio) = crate::container::capture();
        let running = container.start(stdio).unwrap();
        for _ in 0..100 {
            assert_eq!(exec(&running, &process(&["true"])).unwrap().code, 0);
        }
        running.cgroup.kill().unwrap();
        crate::container::wait(running.pidfd.as_fd());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        running.cgroup.remove().unwrap();
        assert!(text.starts_with("watching\n"), "{text}");
        assert!(!text.contains("opened"), "{text}");
    }
}

fn account_files() {
    let start = || Container::new(&["true"]);
    let mut fifo = start();
    std::fs::remove_file(fifo.image("etc/group")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, fifo.image("etc/group"), kind, mode, 0).unwrap();
    assert_eq!(fifo.error().message, "/etc/group in the container is not a regular file");
    let mut huge = start();
    let file = std::fs::OpenOptions::new().write(true).open(huge.image("etc/group")).unwrap();
    file.set_len(10 << 30).unwrap();
    assert_eq!(huge.error().message, "/etc/group in the container is larger than 1048576 bytes");
    let mut link = start();
    std::fs::remove_file(link.image("etc/passwd")).unwrap();
    symlink("/proc/1/root/etc/shadow", link.image("etc/passwd")).unwrap();
    assert_eq!(link.error().kind, StartErrorKind::Internal);
    let mut host = start();
    std::fs::remove_file(host.image("etc/passwd")).unwrap();
    symlink("../../../../../../etc/shadow", host.image("etc/passwd")).unwrap();
    host.spec.process.user = "root".to_owned();
    assert_eq!(host.error().message, "no user \"root\" in the container's /etc/passwd");
}

fn own_program_is_out_of_reach() {
    // A script whose interpreter is "the program that runs me": only ever the container's own.
    let mut container = Container::new(&[]);
    let path = container.image("script");
    std::fs::write(&path, "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    container.spec.process.args = vec!["/script".to_owned()];
    match container.run() {
        Ok(_) => panic!("the supervisor's program ran inside the container"),
        Err(error) => assert_eq!(error.kind, StartErrorKind::NotExecutable, "{error}"),
    }
}
