//! What comes in headers.

use hull_api::registry::AuthConfig;

use super::{Target, Verdict, as_it_is, text, verdict};

pub(super) const REGISTRY_AUTH: Target = Target {
    name: "registry-auth",
    check: registry_auth,
    repair: as_it_is,
    words: &[
        b"e30=",
        b"bnVsbA==",
        b"=",
        b"==",
        b"_",
        b"-",
        b"+",
        b"/",
        b"eyJ1c2VybmFtZSI6Im1lIn0=",
    ],
};

pub(super) const REGISTRY_REQUEST: Target = Target {
    name: "registry-request",
    check: registry_request,
    repair: as_it_is,
    words: &[
        b"/v2/",
        b"/blobs/uploads/",
        b"/manifests/",
        b"/referrers/",
        b"/tags/list",
        b"_catalog",
        b"sha256:",
        b"%3A",
        b"&digest=",
        b"scope=repository:a:pull,push",
        b"bytes=",
        b"18446744073709551615",
        b"Basic ",
        b"Bearer ",
        b"..",
    ],
};

fn registry_request(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    verdict(hull_registry::server::suite::read_head(text))
}

fn registry_auth(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let parsed = AuthConfig::from_header(text);
    if let Ok(auth) = &parsed {
        assert_eq!(AuthConfig::from_header(&auth.to_header()).as_ref(), Ok(auth));
        let secret = auth.password.reveal();
        assert!(secret.len() < 8 || !format!("{auth:?}").contains(secret), "a secret is shown");
    }
    verdict(parsed)
}
