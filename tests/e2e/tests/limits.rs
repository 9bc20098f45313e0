//! Limits of memory, processes, time and files, felt from inside.

use hull_test_support::busybox::busybox_image;
use hull_test_support::{Hull, leaks};

#[test]
fn privileged_memory() {
    let Some(hull) = Hull::with_probe() else { return };
    let words = [
        "run",
        "--name",
        "box",
        "--memory",
        "32m",
        "--memory-swap",
        "32m",
        "probe",
        "/probe",
        "allocate",
    ];
    let mut little = words.to_vec();
    little[2] = "little";
    little.push("8");
    assert_eq!(hull.ok(&little), "8 MiB");
    let mut much = words.to_vec();
    much.push("64");
    let output = hull.run(&much);
    assert_eq!(output.code, 137, "{}{}", output.stdout, output.stderr);
    assert_eq!(hull.inspect("box", "{{.State.OOMKilled}}"), "true");
    assert_eq!(hull.inspect("little", "{{.State.OOMKilled}}"), "false");
    hull.finish();
}

#[test]
fn privileged_processes() {
    let Some(hull) = Hull::with_probe() else { return };
    let started = |limit: &str| -> u32 {
        let words = ["run", "--rm", "--pids-limit", limit, "probe", "/probe", "processes", "30"];
        hull.ok(&words).parse().unwrap()
    };
    assert_eq!(started("10"), 9);
    assert_eq!(started("-1"), 30);
    hull.finish();
}

#[test]
fn privileged_files_and_shared_memory() {
    let Some(hull) = Hull::new() else { return };
    let Some(image) = busybox_image() else { return };
    hull.load(&image, "busybox");
    let sh = |options: &[&str], script: &str| {
        let mut words = vec!["run", "--rm"];
        words.extend(options);
        words.extend(["busybox", "sh", "-c", script]);
        hull.ok(&words)
    };
    assert_eq!(sh(&["--ulimit", "nofile=77:99"], "ulimit -n; ulimit -Hn"), "77\n99");
    assert_eq!(sh(&["--ulimit", "core=0"], "ulimit -c"), "0");
    let size = sh(&["--shm-size", "3m"], "df -k /dev/shm | tail -1");
    assert!(size.split_whitespace().any(|word| word == "3072"), "{size}");
    hull.finish();
}

#[test]
fn privileged_cpu_limits_reach_the_cgroup() {
    let Some(hull) = Hull::with_probe() else { return };
    let words = [
        "run",
        "-d",
        "--name",
        "box",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "probe",
        "/probe",
        "sleep",
    ];
    let id = hull.ok(&words);
    let read = |names: &[&str]| {
        leaks::cgroups()
            .iter()
            .filter(|path| path.ends_with(&id))
            .find_map(|path| names.iter().find_map(|n| std::fs::read_to_string(path.join(n)).ok()))
            .unwrap_or_else(|| panic!("none of {names:?}"))
    };
    let quota = read(&["cpu.cfs_quota_us", "cpu.max"]);
    assert!(quota.starts_with("50000"), "{quota}");
    assert_eq!(read(&["cpuset.cpus"]).trim(), "0");
    let status = hull.ok(&["exec", "box", "/probe", "read", "/proc/self/status"]);
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    hull.finish();
}
