//! What the engine says of itself.
#![expect(clippy::unwrap_used, reason = "an answer of another shape fails the test")]

use hull_test_support::Hull;
use hull_test_support::busybox::probe_image;

#[test]
fn privileged_version_and_info() {
    let Some(hull) = Hull::new() else { return };
    let version = hull.ok(&["version", "--format", "{{.Client.Version}}"]);
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let info = hull.json(&["info", "--format", "json"]);
    assert_eq!(info["DockerRootDir"], hull.data_root().display().to_string());
    let security = info["SecurityOptions"].to_string();
    for option in ["seccomp", "userns", "no-new-privileges"] {
        assert!(security.contains(option), "{security}");
    }
    hull.finish();
}

/// Every byte belongs to one class: their sum is what `du` counts.
#[test]
fn privileged_disk_usage_is_what_du_counts() {
    let Some(hull) = Hull::new() else { return };
    hull.load(&probe_image(), "probe");
    hull.ok(&["run", "--name", "box", "probe", "/probe", "spin-output", "20000"]);
    hull.ok(&["run", "-v", "/made", "--name", "other", "probe", "/probe", "write", "/made/x", "y"]);
    let text = hull.ok(&["system", "df", "--format", "json"]);
    let classes = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let sizes = classes
        .filter(|class| class["Type"].as_str().unwrap().starts_with("On disk"))
        .map(|class| bytes(class["Size"].as_str().unwrap()));
    let sum: f64 = sizes.sum();
    let output = std::process::Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(hull.data_root())
        .output()
        .unwrap();
    let counted = String::from_utf8_lossy(&output.stdout).into_owned();
    let counted: f64 = counted.split_whitespace().next().unwrap().parse().unwrap();
    // The sizes are shown with four digits.
    assert!((sum - counted).abs() / counted < 0.005, "df {sum}, du {counted}\n{text}");
    hull.ok(&["rm", "-v", "other"]);
    hull.finish();
}

/// Docker's way of writing sizes: `65.54kB`.
fn bytes(text: &str) -> f64 {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let factor = match &text[digits..] {
        "B" => 1e0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        unit => panic!("unit {unit}"),
    };
    text[..digits].parse::<f64>().unwrap() * factor
}

#[test]
fn privileged_unknown_words() {
    let Some(hull) = Hull::new() else { return };
    let output = hull.run(&["nonsense"]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("nonsense"), "{}", output.stderr);
    for command in ["start", "stop", "kill", "logs", "inspect", "wait", "exec"] {
        let words: &[&str] =
            if command == "exec" { &["exec", "absent", "true"] } else { &[command, "absent"] };
        let output = hull.run(words);
        assert_eq!(output.code, 1, "{command}: {}", output.stderr);
        assert!(output.stderr.contains("absent"), "{command}: {}", output.stderr);
    }
    let help = hull.ok(&["run", "--help"]);
    for flag in ["--rm", "--cap-add", "--read-only", "--security-opt", "--userns", "--tmpfs"] {
        assert!(help.contains(flag), "{flag}");
    }
    hull.finish();
}
