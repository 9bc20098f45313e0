//! What one file, or one variable, knows of a registry.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hull_api::registry::{AuthConfig, Secret};

use super::document::Document;
use super::key::Wanted;

/// What Docker and Podman write, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where credentials for a registry are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In the file itself.
    Here(AuthConfig),
    /// With the helper `docker-credential-NAME`.
    Helper(String),
    /// Nowhere that this file knows of.
    Nothing,
}

/// Why a file cannot tell. Nothing here repeats what could be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryError {
    #[error("it is not what Docker's config.json looks like (line {0})")]
    Shape(usize),
    #[error("its entry {0:?} is not a name and a password in base64")]
    Auth(String),
    #[error("{0:?} is no name of a credential helper")]
    Helper(String),
}

fn shape(error: &serde_json::Error) -> EntryError {
    EntryError::Shape(error.line())
}

/// Looks for credentials in a file's `auths`, and for a helper where `helpers` are looked at.
///
/// # Errors
/// A file that is not what it should be; damage in what belongs to other registries does not count.
pub(super) fn find(text: &str, wanted: &Wanted, helpers: bool) -> Result<Found, EntryError> {
    let document = Document::parse(text).map_err(|error| shape(&error))?;
    if helpers && let Some(name) = helper(&document, wanted)? {
        return Ok(Found::Helper(name));
    }
    let Some(auths) = document.object("auths").map_err(|error| shape(&error))? else {
        return Ok(Found::Nothing);
    };
    let mut ranked: Vec<(usize, &str, &str)> =
        auths.members().filter_map(|(key, entry)| Some((wanted.rank(key)?, key, entry))).collect();
    ranked.sort_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
    for (_, key, entry) in ranked {
        let auth = decode(key, entry)?;
        if !auth.is_anonymous() {
            let serveraddress = wanted.registry.server_address().to_owned();
            return Ok(Found::Here(AuthConfig { serveraddress, ..auth }));
        }
    }
    Ok(Found::Nothing)
}

/// The helper that keeps a registry's credentials: its own, or the one for all.
///
/// # Errors
/// What is no name of a helper.
pub(super) fn helper(document: &Document, wanted: &Wanted) -> Result<Option<String>, EntryError> {
    let read = |text: &str| {
        let name: Option<String> = serde_json::from_str(text).map_err(|error| shape(&error))?;
        Ok(name.filter(|name| !name.is_empty()))
    };
    let own = document.object("credHelpers").map_err(|error| shape(&error))?.unwrap_or_default();
    let own = own.members().filter_map(|(key, name)| Some((wanted.rank(key)?, name)));
    let name = match (own.max_by_key(|(rank, _)| *rank), document.get("credsStore")) {
        (Some((_, name)), _) | (None, Some(name)) => read(name)?,
        (None, None) => None,
    };
    match name {
        Some(name) if !is_helper_name(&name) => Err(EntryError::Helper(name)),
        name => Ok(name),
    }
}

/// It becomes part of a program's name: no separator of paths.
fn is_helper_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= 128 && name.bytes().all(plain) && !name.starts_with('.')
}

/// Reads one entry. A name and a password in base64 are taken apart.
fn decode(key: &str, entry: &str) -> Result<AuthConfig, EntryError> {
    let wrong = || EntryError::Auth(key.to_owned());
    let entry: Option<AuthConfig> = serde_json::from_str(entry).map_err(|_| wrong())?;
    let mut entry = entry.unwrap_or_default();
    if !entry.auth.is_empty() {
        let pair = BASE64.decode(entry.auth.reveal()).map_err(|_| wrong())?;
        let pair = String::from_utf8(pair).map_err(|_| wrong())?;
        let (name, password) = pair.split_once(':').ok_or_else(wrong)?;
        entry.username = name.to_owned();
        // Docker's own files had these at the end once.
        entry.password = Secret::new(password.trim_matches('\0'));
        entry.auth = Secret::default();
    }
    Ok(entry)
}

/// The text of an entry that holds `auth`, indented for its place in a file.
pub(super) fn encode(auth: &AuthConfig) -> String {
    let mut entry = Document::default();
    let mut member = |name: &str, value: &str| {
        if !value.is_empty() {
            // A string has a JSON form.
            let _ = entry.set(name, serde_json::Value::from(value).to_string());
        }
    };
    if !auth.username.is_empty() || !auth.password.is_empty() {
        let pair = format!("{}:{}", auth.username, auth.password.reveal());
        member("auth", &BASE64.encode(pair));
    }
    member("identitytoken", auth.identitytoken.reveal());
    member("registrytoken", auth.registrytoken.reveal());
    entry.to_text(2)
}

#[cfg(test)]
mod tests {
    use super::super::key::RegistryKey;
    use super::*;

    fn wanted(name: &str) -> Wanted {
        let (registry, repository) = name.split_once('/').unwrap_or((name, ""));
        Wanted {
            registry: RegistryKey::parse(registry).unwrap(),
            repository: repository.to_owned(),
        }
    }

    /// `name password identitytoken registrytoken`, a helper, or nothing.
    fn found(text: &str, name: &str) -> String {
        match find(text, &wanted(name), true) {
            Ok(Found::Here(auth)) => format!(
                "{} {} {} {}",
                auth.username,
                auth.password.reveal(),
                auth.identitytoken.reveal(),
                auth.registrytoken.reveal()
            )
            .trim_end()
            .to_owned(),
            Ok(Found::Helper(name)) => format!("helper {name}"),
            Ok(Found::Nothing) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn entries_of_every_kind_are_read() {
        let file = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOmE6Yg=="},
            "plain.example":{"username":"me","password":"secret"},
            "https://old.example/v1/":{"auth":"b2xkOnB3AAA","email":"x@y"},
            "token.example:5000":{"auth":"bWU6","identitytoken":"refresh"},
            "bearer.example":{"registrytoken":"bearer"},
            "empty.example":{}, "null.example":null,
            "broken.example":{"auth":"%%%"}, "no-colon.example":{"auth":"bWU="},
            "quay.io":{"auth":"YWxsOng="},"quay.io/user":{"auth":"dXNlcjp5"}
        }}"#;
        let table = [
            ("docker.io/library/busybox", "hub a:b"),
            ("plain.example/x", "me secret"),
            ("old.example/x", "old pw"),
            ("token.example:5000/x", "me  refresh"),
            ("bearer.example/x", "   bearer"),
            ("empty.example/x", "nothing"),
            ("null.example/x", "nothing"),
            ("token.example/x", "nothing"),
            ("quay.io/user/image", "user y"),
            ("quay.io/user2/image", "all x"),
            (
                "broken.example",
                "its entry \"broken.example\" is not a name and a password in base64",
            ),
            (
                "no-colon.example",
                "its entry \"no-colon.example\" is not a name and a password in base64",
            ),
        ];
        for (name, expected) in table {
            assert_eq!(found(file, name), expected.trim_end(), "{name}");
        }
    }

    #[test]
    fn helpers_are_chosen_by_registry() {
        let file = r#"{"credsStore":"all","credHelpers":{"a.example":"own","b.example":"",
            "https://index.docker.io/v1/":"hub","c.example":"../x"},
            "auths":{"a.example":{"auth":"eDp5"}, "b.example":{"auth":"eDp5"}}}"#;
        let table = [
            ("a.example/x", "helper own"),
            ("a.example:443/x", "helper all"),
            ("docker.io/x", "helper hub"),
            ("z.example/x", "helper all"),
            // An empty name says that this registry's are in the file.
            ("b.example/x", "x y"),
            ("c.example/x", "\"../x\" is no name of a credential helper"),
        ];
        for (name, expected) in table {
            assert_eq!(found(file, name), expected, "{name}");
        }
        let here = find(file, &wanted("a.example/x"), false).unwrap();
        assert!(matches!(here, Found::Here(auth) if auth.username == "x"));
    }

    #[test]
    fn files_of_another_shape_are_named_without_their_content() {
        let table = [
            ("", "nothing"),
            ("{}", "nothing"),
            (r#"{"auths":{}}"#, "nothing"),
            (
                "{\n\"auths\":[\"geheim\"]}",
                "it is not what Docker's config.json looks like (line 1)",
            ),
            ("{\n\"auths\": x", "it is not what Docker's config.json looks like (line 2)"),
            (
                r#"{"auths":{"a":{"auth":["geheim"]}}}"#,
                "its entry \"a\" is not a name and a password in base64",
            ),
            (r#"{"credsStore":5}"#, "it is not what Docker's config.json looks like (line 1)"),
        ];
        for (text, expected) in table {
            assert_eq!(found(text, "a/x"), expected, "{text}");
        }
    }

    #[test]
    fn entries_survive_a_round_trip() {
        let auth = AuthConfig {
            username: "me".into(),
            password: Secret::new("a:b\"\u{e4}"),
            identitytoken: Secret::new("t"),
            ..AuthConfig::default()
        };
        assert_eq!(decode("x", &encode(&auth)).unwrap(), auth);
        assert_eq!(
            encode(&AuthConfig {
                username: "x".into(),
                password: Secret::new("y"),
                ..AuthConfig::default()
            }),
            "{\n\t\t\t\"auth\": \"eDp5\"\n\t\t}"
        );
    }
}
