//! What an operator or a client writes: configuration, profiles, requests.

use hull_api::{
    ContainerCreateBody, ContainerUpdateBody, ExecCreateBody, ExecStartBody, VolumeCreateOptions,
};
use hull_registry::config::Registries;
use hull_sandbox::capability::Capability;
use hull_sandbox::seccomp::{Profile, compile};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Target, Verdict, as_it_is, text, verdict};

pub(super) const API: Target = Target {
    name: "api",
    check: api,
    repair: as_it_is,
    words: &[
        b"null",
        b"true",
        b"-1",
        b"1e400",
        b"\"\"",
        b"[]",
        b"{}",
        b"\"Cmd\":\"sh\"",
        b"\"Image\":\"box\"",
        b"\"HostConfig\":{}",
        b"\"Binds\":[\"/:/host\"]",
        b"\"Mounts\":[{\"Type\":\"bind\"}]",
        b"\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"80\"}]}",
        b"\"hostConfig\":{\"Privileged\":true}",
        b"\"Privileged\":true",
        b"\"Memory\":9223372036854775808",
        b"[[[[[[[[[[[[[[[[",
        b"\xff",
    ],
};

/// Whatever one of the API's bodies takes.
fn api(bytes: &[u8]) -> Verdict {
    let taken = [
        stable::<ContainerCreateBody>(bytes),
        stable::<ContainerUpdateBody>(bytes),
        stable::<ExecCreateBody>(bytes),
        stable::<ExecStartBody>(bytes),
        stable::<VolumeCreateOptions>(bytes),
    ];
    if taken.contains(&true) { Verdict::Accepted } else { Verdict::Refused }
}

/// What is read, is written, and reads as the same again.
fn stable<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<T>(bytes) else { return false };
    let once = serde_json::to_value(&body).expect("a body has a JSON form");
    let again: T = serde_json::from_value(once.clone()).expect("what we write we read");
    assert_eq!(serde_json::to_value(&again).expect("a body has a JSON form"), once);
    true
}

pub(super) const SECCOMP: Target = Target {
    name: "seccomp",
    check: seccomp,
    repair: as_it_is,
    words: &[
        b"\"defaultAction\":\"SCMP_ACT_ALLOW\"",
        b"\"SCMP_ACT_ERRNO\"",
        b"\"SCMP_ACT_NOTIFY\"",
        b"\"SCMP_CMP_MASKED_EQ\"",
        b"\"names\":[\"clone\"]",
        b"\"errnoRet\":38",
        b"\"errnoRet\":-1",
        b"\"index\":6",
        b"\"value\":18446744073709551615",
        b"\"valueTwo\":0",
        b"\"SCMP_ARCH_X86\"",
        b"\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}",
        b"\"minKernel\":\"4.8\"",
        b"null",
        b"[]",
        b"{}",
    ],
};

fn seccomp(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let parsed = Profile::parse(text);
    if let Ok(profile) = &parsed {
        for capabilities in [&[][..], &[Capability::SYS_ADMIN]] {
            // A profile may be too long for a program; then that is said.
            if let Ok(program) = compile(profile, capabilities) {
                let count = program.instructions().len();
                assert!((1..=4096).contains(&count), "{count} instructions");
            }
        }
    }
    verdict(parsed)
}

pub(super) const DOCKER_CONFIG: Target = Target {
    name: "docker-config",
    check: docker_config,
    repair: as_it_is,
    words: &[
        b"\"auths\":{}",
        b"\"auth\":\"bWU6cHc=\"",
        b"\"https://index.docker.io/v1/\":",
        b"\"r.example\":",
        b"\"r.example:5000\":",
        b"\"R.EXAMPLE\":",
        b"\"user@r.example\":",
        b"\"r.example\\u3002evil\":",
        b"\"credsStore\":\"keys\"",
        b"\"credHelpers\":{\"r.example\":\"../x\"}",
        b"\"identitytoken\":\"t\"",
        b"null",
        b"[]",
        b"{}",
        b"\"\"",
        b"1.50",
        b"\\ud800",
        b"[[[[[[[[[[[[[[[[",
    ],
};

/// Credentials for one registry, none for one that the file does not name, and a change that
/// changes nothing else.
fn docker_config(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let found = hull_cli::fuzz::credentials(text, "r.example", "team/app");
    if !text.contains("credsStore") && !text.contains('\\') {
        let other = hull_cli::fuzz::credentials(text, "other.example", "team/app");
        assert!(text.contains("other.example") || !matches!(other, Ok(true)), "{text}");
    }
    hull_cli::fuzz::rewrite(text);
    verdict(found)
}

pub(super) const REGISTRIES: Target = Target {
    name: "registries",
    check: registries,
    repair: as_it_is,
    words: &[
        b"[registry.\"r.example\"]\n",
        b"mirrors = [\"https://m.example\"]\n",
        b"insecure = true\n",
        b"[[",
        b"]]",
        b"\"\"\"",
        b"'''",
        b"offline = true\n",
        b"= ",
        b"1979-05-27T07:32:00Z",
        b"\\u0000",
    ],
};

fn registries(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let parsed = Registries::parse(text);
    if let Ok(registries) = &parsed {
        // It goes to the process that dials as JSON.
        let json = serde_json::to_string(registries).expect("it has a JSON form");
        let again: Registries = serde_json::from_str(&json).expect("what we write we read");
        assert_eq!(again, *registries);
    }
    verdict(parsed)
}
