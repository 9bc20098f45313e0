//! Builds that are killed.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use hull_test_support::daemon::Daemon;
use serde_json::json;

use crate::driver::Builds;

/// Numbers that look random and are the same every time.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn privileged_builds_killed_at_any_moment_leave_a_sound_store_and_what_they_finished() {
    let Some(mut builds) = Builds::new() else { return };
    let mut seed = 5;
    for round in 0..20 {
        let name = format!("kill{round}");
        let steps: String = (0..6)
            .map(|step| format!("RUN echo {round} {step} > /f{step}; dd if=/dev/urandom of=/r{step} bs=64k count=1 2>/dev/null\n"))
            .collect();
        let root = builds
            .context(&name, &[("Dockerfile", &format!("FROM busybox\n{steps}COPY . /ctx\n"))]);
        let body = json!({"context": {"directory": {"path": root}}, "tags": [name]}).to_string();
        let request = format!(
            "POST /hull/build HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(builds.daemon.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        // After so many bytes of what it tells, wherever the build is then.
        let mut told = Vec::new();
        let end = usize::try_from(random(&mut seed) % 6000).unwrap();
        let mut buffer = [0; 256];
        while told.len() < end {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => told.extend_from_slice(&buffer[..count]),
            }
        }
        let hull = builds.hull;
        builds.daemon.kill();
        let text = String::from_utf8_lossy(&told).into_owned();
        let finished: Vec<usize> = (0..6)
            .filter(|step| {
                text.lines().any(|line| {
                    line.contains(&format!("echo {round} {step} >"))
                        && line.contains("\"completed\"")
                })
            })
            .collect();
        let checked = hull.ok(&["system", "check"]);
        assert!(checked.contains("no problems"), "round {round}: {checked}");
        let daemon = Daemon::start(&hull);
        builds = Builds { daemon, hull };
        let answer = builds.again(&name);
        for step in finished {
            let step = format!("echo {round} {step} >");
            assert!(answer.cached(&step), "round {round}: {step} ran again:\n{text}");
        }
        assert_eq!(builds.sh(&name, "cat /f0 /f5"), format!("{round} 0\n{round} 5\n"));
    }
    let deep = builds.hull.ok(&["system", "check", "--deep"]);
    assert!(deep.contains("no problems"), "{deep}");
    builds.hull.ok(&["system", "prune", "-af"]);
    let work = builds.hull.data_root().join("cache/work");
    assert_eq!(std::fs::read_dir(work).unwrap().count(), 0);
    builds.finish();
}
