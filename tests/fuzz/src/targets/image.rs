//! What images and registries say.

use hull_oci::{Digest, Document, ImageConfig, Platform, Reference, parse_archive_manifest};

use super::{Target, Verdict, as_it_is, text, verdict};

pub(super) const REFERENCE: Target = Target {
    name: "reference",
    check: reference,
    repair: as_it_is,
    words: &[
        b"docker.io",
        b"index.docker.io",
        b"library/",
        b"localhost",
        b":5000",
        b"[::1]",
        b"@sha256:",
        b":latest",
        b"//",
        b"..",
        b"__",
        b"--",
        b"A",
        b"\xc3\xa9",
        b"\xe3\x80\x82",
        b"%2f",
        b"\n",
        b"@sha256:c0537ff6a5218ef531ece93d4984efc99bbf3f7497c0a7726c88e2bb7584dc96",
    ],
};

fn reference(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let parsed = text.parse::<Reference>();
    if let Ok(name) = &parsed {
        let full = name.to_string();
        assert_eq!(full.parse::<Reference>().as_ref(), Ok(name), "{full}");
        let familiar = name.familiar();
        assert_eq!(familiar.parse::<Reference>().as_ref(), Ok(name), "{familiar}");
        assert!(full.is_ascii() && !full.contains(char::is_whitespace), "{full}");
        assert!(name.registry() != "index.docker.io", "{full}");
        let parts = name.repository().split('/');
        assert!(parts.clone().all(|part| !matches!(part, "" | "." | "..")), "{full}");
        let bare = name.without_tag_and_digest();
        let again = Reference::from_parts(name.registry(), name.repository());
        assert_eq!(again.as_ref(), Ok(&bare), "{full}");
        let json = serde_json::to_string(name).expect("a string");
        assert_eq!(serde_json::from_str::<Reference>(&json).expect("it was one"), *name);
    }
    verdict(parsed)
}

pub(super) const DIGEST: Target = Target {
    name: "digest",
    check: digest,
    repair: as_it_is,
    words: &[b"sha256:", b"sha512:", b"md5:", b"../", b"/", b"A", b"0000000000000000"],
};

fn digest(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let parsed = text.parse::<Digest>();
    if let Ok(digest) = &parsed {
        assert_eq!(digest.to_string(), text);
        // It is used as the name of a file.
        assert!(digest.hex().bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert_eq!(digest.as_str(), format!("{}:{}", digest.algorithm().as_str(), digest.hex()));
    }
    verdict(parsed)
}

pub(super) const PLATFORM: Target = Target {
    name: "platform",
    check: platform,
    repair: as_it_is,
    words: &[b"linux", b"/", b"amd64", b"x86_64", b"arm", b"v7", b"windows", b"(10.0)", b"\xff"],
};

fn platform(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let parsed = text.parse::<Platform>();
    if let Ok(platform) = &parsed {
        let folded = platform.clone().normalized();
        assert_eq!(folded.clone().normalized(), folded, "{text}");
        assert!(folded.matches(&folded), "{text}");
        assert_eq!(platform.to_string().parse::<Platform>().as_ref(), Ok(platform), "{text}");
    }
    verdict(parsed)
}

/// Words of manifests, indexes, configs.
const JSON: &[&[u8]] = &[
    b"null",
    b"true",
    b"-1",
    b"1e400",
    b"18446744073709551616",
    b"\"\"",
    b"[]",
    b"{}",
    b"{\"a\":",
    b"\\ud800",
    b"[[[[[[[[[[[[[[[[",
    b"\"schemaVersion\":1",
    b"\"manifests\":[]",
    b"\"layers\":null",
    b"\"config\":{}",
    b"\"mediaType\":\"application/vnd.oci.image.index.v1+json\"",
    b"\"size\":-1",
    b"\"urls\":[\"http://127.0.0.1/\"]",
    b"\"digest\":\"sha256:../../x\"",
    b"\"rootfs\":null",
    b"\"diff_ids\":[]",
    b"\"Cmd\":\"sh\"",
    b"\"Healthcheck\":{\"Interval\":-1}",
    b"\xff",
];

pub(super) const MANIFEST: Target =
    Target { name: "manifest", check: manifest, repair: as_it_is, words: JSON };

fn manifest(bytes: &[u8]) -> Verdict {
    let parsed = Document::parse(bytes);
    match &parsed {
        Ok(Document::Index(index)) => {
            assert!(hull_oci::Manifest::parse(bytes).is_err(), "an index that is a manifest too");
            let again = hull_oci::Index::parse(&index.to_bytes()).expect("what we write we read");
            assert_eq!(again.manifests, index.manifests);
        }
        Ok(Document::Manifest(manifest)) => {
            assert!(hull_oci::Index::parse(bytes).is_err(), "a manifest that is an index too");
            let again =
                hull_oci::Manifest::parse(&manifest.to_bytes()).expect("what we write we read");
            assert_eq!(again.layers, manifest.layers);
        }
        Err(_) => {}
    }
    verdict(parsed)
}

pub(super) const CONFIG: Target =
    Target { name: "image-config", check: config, repair: as_it_is, words: JSON };

fn config(bytes: &[u8]) -> Verdict {
    let parsed = ImageConfig::parse(bytes);
    if let Ok(config) = &parsed {
        let again = ImageConfig::parse(&config.to_bytes()).expect("what we write we read");
        assert_eq!(again, *config);
        let _ = (config.platform(), config.runtime());
        assert_eq!(
            hull_oci::chain_id(&config.rootfs.diff_ids).is_none(),
            config.rootfs.diff_ids.is_empty()
        );
    }
    verdict(parsed)
}

pub(super) const ARCHIVE_MANIFEST: Target =
    Target { name: "archive-manifest", check: archive_manifest, repair: as_it_is, words: JSON };

fn archive_manifest(bytes: &[u8]) -> Verdict {
    let parsed = parse_archive_manifest(bytes);
    if let Ok(images) = &parsed {
        let again = parse_archive_manifest(&hull_oci::archive_manifest(images));
        assert_eq!(again.expect("what we write we read"), *images);
    }
    verdict(parsed)
}
