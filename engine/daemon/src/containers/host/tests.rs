use super::*;
use serde_json::json;

fn check_json(document: Value) -> Result<HostConfig, String> {
    check(serde_json::from_value(document).unwrap(), || 2).map_err(|error| error.message)
}

#[test]
fn defaults_are_written_out() {
    let host = check_json(json!({"Memory": 10_000_000, "CpuShares": 1})).unwrap();
    assert_eq!(host.network_mode, "none");
    assert_eq!(host.memory_swap, 20_000_000);
    assert_eq!(host.shm_size, 64 << 20);
    assert_eq!(host.cpu_shares, 2);
    assert!(host.masked_paths.unwrap().contains(&"/proc/kcore".to_owned()));
    let host = check_json(json!({"Privileged": true})).unwrap();
    assert_eq!(host.masked_paths, Some(Vec::new()));
}

#[test]
fn refused() {
    for (document, part) in [
        (json!({"Memory": 1000}), "Minimum memory limit allowed is 6MB"),
        (json!({"Memory": 10_000_000, "MemorySwap": 9_000_000}), "Minimum memoryswap limit"),
        (json!({"MemorySwap": 9_000_000}), "You should always set the Memory limit"),
        (json!({"MemoryReservation": 9, "Memory": -1}), "Minimum memory limit"),
        (json!({"NanoCpus": 3_000_000_000_u64}), "range of CPUs is from 0.01 to 2.00"),
        (json!({"NanoCpus": 1_000_000_000, "CpuQuota": 5000}), "Conflicting options"),
        (json!({"CpusetCpus": "0-"}), "Invalid value 0- for cpuset cpus"),
        (json!({"CpusetCpus": "1-0"}), "Invalid value 1-0"),
        (json!({"NetworkMode": "bridge"}), "network \"bridge\" is not available"),
        (json!({"NetworkMode": "container:x"}), "is not available"),
        (json!({"PidMode": "host"}), "pid mode \"host\" is not available"),
        (json!({"UsernsMode": "private", "Privileged": true}), "user namespace of its own"),
        (json!({"CapAdd": ["FLY"]}), "FLY"),
        (json!({"SecurityOpt": ["wings=on"]}), "invalid --security-opt"),
        (json!({"SecurityOpt": ["seccomp=/etc/x.json"]}), "invalid seccomp profile"),
        (json!({"SecurityOpt": ["seccomp={}x"]}), "invalid seccomp profile"),
        (json!({"SecurityOpt": ["apparmor=x"]}), "is not available"),
        (json!({"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}), "2 > 1"),
        (json!({"Ulimits": [{"Name": "x", "Soft": 1, "Hard": 1}]}), "invalid ulimit type: x"),
        (json!({"RestartPolicy": {"Name": "sometimes"}}), "unknown policy 'sometimes'"),
        (
            json!({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}}),
            "can only be used with 'on-failure'",
        ),
        (
            json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}}),
            "cannot be negative",
        ),
        (
            json!({"RestartPolicy": {"Name": "always"}, "AutoRemove": true}),
            "can't create 'AutoRemove' container",
        ),
        (json!({"LogConfig": {"Type": "none", "Config": {"max-size": "1m"}}}), "unknown log opt"),
        (json!({"LogConfig": {"Type": "syslog"}}), "log driver \"syslog\""),
        (json!({"LogConfig": {"Type": "", "Config": {"a": "b"}}}), "unknown log opt 'a'"),
        (json!({"LogConfig": {"Type": "", "Config": {"max-file": "0"}}}), "invalid value"),
        (json!({"PortBindings": {"80/tcp": [{"HostPort": "80"}]}}), "HostConfig.PortBindings"),
        (json!({"Devices": [{}]}), "HostConfig.Devices"),
        (json!({"OomKillDisable": true}), "HostConfig.OomKillDisable"),
        (json!({"ShmSize": -1}), "SHM size"),
    ] {
        let message = check_json(document.clone()).unwrap_err();
        assert!(message.contains(part), "{document}: {message}");
    }
}

#[test]
fn what_the_docker_cli_always_sends_passes() {
    check_json(json!({
        "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}},
        "NetworkMode": "default", "PortBindings": {}, "RestartPolicy": {"Name": "no"},
        "AutoRemove": true, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [24, 80],
        "CapAdd": null, "CgroupnsMode": "", "Dns": [], "GroupAdd": null, "IpcMode": "",
        "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "", "Privileged": false,
        "PublishAllPorts": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "",
        "Isolation": "", "BlkioWeight": 0, "BlkioWeightDevice": [], "Devices": [],
        "MemorySwappiness": -1, "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [],
        "CpuCount": 0, "IOMaximumIOps": 0, "MaskedPaths": null, "ReadonlyPaths": null,
    }))
    .unwrap();
}

#[test]
fn security_options() {
    let read = |host: Value| security(&serde_json::from_value(host).unwrap()).unwrap();
    assert!(read(json!({})).no_new_privileges);
    assert_eq!(read(json!({})).seccomp, Seccomp::Default);
    assert!(!read(json!({"Privileged": true})).no_new_privileges);
    let read = |option: &str| read(json!({"SecurityOpt": [option]}));
    assert!(!read("no-new-privileges=false").no_new_privileges);
    assert!(!read("no-new-privileges:false").no_new_privileges);
    assert_eq!(read("seccomp=unconfined").seccomp, Seccomp::Unconfined);
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
    assert_eq!(read(&format!("seccomp={profile}")).seccomp, Seccomp::Profile(profile.to_owned()));
}

#[test]
fn sizes() {
    for (text, bytes) in
        [("10m", 10 << 20), ("1k", 1024), ("1.5g", 3 << 29), ("7", 7), ("2MB", 2 << 20)]
    {
        assert_eq!(size(text), Some(bytes), "{text}");
    }
    for bad in ["", "m", "x", "-1", "1.x", "99999999999999g"] {
        assert_eq!(size(bad), None, "{bad}");
    }
}
