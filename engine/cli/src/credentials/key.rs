//! Names of registries, as people write them and as files have them.

use std::fmt;

/// How files, helpers and engines name Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

/// Its name in references.
const HUB_NAME: &str = "docker.io";

/// A registry: its host in lower case, and its port where one was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RegistryKey(String);

impl RegistryKey {
    /// Docker Hub.
    pub(crate) fn hub() -> Self {
        Self(HUB_NAME.to_owned())
    }

    /// The registry that a person, a file or a reference names: `host`, `host:port`,
    /// `https://host/v1/`. `None` for what names no host that could be one of a registry.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        split(text).map(|(registry, _)| registry)
    }

    /// How files, helpers and engines name it.
    pub(crate) fn server_address(&self) -> &str {
        if self.is_hub() { HUB } else { &self.0 }
    }

    /// What a login without a server is for.
    pub(crate) fn is_hub(&self) -> bool {
        self.0 == HUB_NAME
    }
}

impl fmt::Display for RegistryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What credentials are asked for: a registry, and perhaps a repository in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) registry: RegistryKey,
    /// `library/busybox`; files of Podman may have credentials for a part of a registry.
    pub(crate) repository: String,
}

impl Wanted {
    /// The registry as a whole.
    pub(crate) fn registry(registry: RegistryKey) -> Self {
        Self { registry, repository: String::new() }
    }

    /// How exactly the key `text` of a file names this: the longer the repository, the more. `None`
    /// for another registry or another repository.
    pub(crate) fn rank(&self, text: &str) -> Option<usize> {
        let (registry, path) = split(text)?;
        if registry != self.registry {
            return None;
        }
        let inside = path.is_empty()
            || self.repository.strip_prefix(path).is_some_and(|rest| {
                // A whole name: `user` is no part of `user2/image`.
                rest.is_empty() || rest.starts_with('/')
            });
        // Among keys of one meaning, the one that is written today.
        let exact = usize::from(text == self.registry.server_address());
        inside.then_some(2 * path.len() + exact)
    }
}

/// The registry of a key, and the part of it that the key is for; empty for all of it.
fn split(text: &str) -> Option<(RegistryKey, &str)> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let rest = rest.unwrap_or(text);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.to_ascii_lowercase();
    if !is_host_and_port(&host) {
        return None;
    }
    let host = if host == "index.docker.io" { HUB_NAME.to_owned() } else { host };
    // Addresses of the protocol itself, as old files have them, stand for the whole registry.
    let path = match path.trim_end_matches('/') {
        "v1" | "v2" => "",
        path => path,
    };
    Some((RegistryKey(host), path))
}

/// Whether `text` is `host`, `host:port`, `[address]` or `[address]:port`, in plain characters.
fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
            if address.is_empty() || !address.bytes().all(plain) {
                return false;
            }
            ("x", if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or("")) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-')
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port_fits = |port: &str| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0);
    host.len() <= 253 && host.split('.').all(label) && port.is_none_or(port_fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<String> {
        RegistryKey::parse(text).map(|key| key.to_string())
    }

    #[test]
    fn registries_are_named_by_host_and_port() {
        let table = [
            ("docker.io", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("https://index.docker.io/v1", "docker.io"),
            ("Registry.Example.COM", "registry.example.com"),
            ("http://registry.example.com/v2/", "registry.example.com"),
            ("localhost:5000", "localhost:5000"),
            ("https://localhost:5000", "localhost:5000"),
            ("registry.example.com:443", "registry.example.com:443"),
            ("quay.io/user/image", "quay.io"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
        ];
        for (text, expected) in table {
            assert_eq!(host(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(RegistryKey::hub().server_address(), "https://index.docker.io/v1/");
    }

    #[test]
    fn what_names_no_registry_is_none() {
        let bad = [
            "",
            "https://",
            "/v1/",
            "https://user@registry.example.com",
            "https://registry.example.com@evil.example/",
            "registry.example.com:",
            "registry.example.com:0",
            "registry.example.com:99999",
            "registry.example.com:+80",
            "registry.example.com:5000:1",
            "registry..example.com",
            "registry.example.com.",
            "registry.example\u{3002}com",
            "r\u{e9}gistre.example",
            "registry.example.com\n",
            "registry.example.com\\@evil.example",
            "registry.example.com?x",
            "registry.example.com#x",
            "ftp://registry.example.com",
            "-x.example",
            "[::1",
            "[]:5000",
            "[::1]5000",
            "[evil.example]",
        ];
        for text in bad {
            assert_eq!(host(text), None, "{text:?}");
        }
    }

    /// GO-2026-6225 too: a host that only begins or ends as the one that was meant.
    #[test]
    fn cve_2021_41092_a_key_is_for_its_own_registry_alone() {
        let wanted = |registry: &str, repository: &str| Wanted {
            registry: RegistryKey::parse(registry).unwrap(),
            repository: repository.to_owned(),
        };
        let others = [
            "registry.example.com:5000",
            "registry.example.com:443",
            "https://example.com",
            "example.com",
            "sub.registry.example.com",
            "registry.example.com.evil.example",
            "evil-registry.example.com",
            "https://evil.example/registry.example.com",
            "https://registry.example.com@evil.example",
            "https://evil.example/v1/registry.example.com",
            "https://index.docker.io/v1/",
            "*.example.com",
            "*",
            "",
        ];
        let registry = wanted("registry.example.com", "team/app");
        for key in others {
            assert_eq!(registry.rank(key), None, "{key:?}");
        }
        for key in ["registry.example.com", "HTTPS://registry.example.com"] {
            // Only a scheme in the form everybody writes.
            assert_eq!(registry.rank(key).is_some(), !key.starts_with("HTTPS"), "{key:?}");
        }
        for key in ["registry.example.com/team2", "registry.example.com/tea", "quay.io/team"] {
            assert_eq!(registry.rank(key), None, "{key:?}");
        }
        for other in ["localhost:5000", "localhost", "registry-1.docker.io", "hub.docker.io"] {
            assert_eq!(wanted(other, "a").rank("https://index.docker.io/v1/"), None, "{other}");
        }
    }

    #[test]
    fn the_closest_key_wins() {
        let wanted = Wanted {
            registry: RegistryKey::parse("quay.io").unwrap(),
            repository: "user/image".to_owned(),
        };
        let rank = |key| wanted.rank(key).unwrap();
        assert!(rank("quay.io/user/image") > rank("quay.io/user"));
        assert!(rank("quay.io/user") > rank("quay.io"));
        assert!(rank("quay.io") > rank("https://quay.io/v2/"));
    }
}
