use super::*;

#[track_caller]
fn check(text: &str, full: &str, familiar: &str) {
    let reference: Reference = text.parse().unwrap();
    assert_eq!(reference.to_string(), full, "{text}");
    assert_eq!(reference.familiar(), familiar, "{text}");
    assert_eq!(full.parse::<Reference>().unwrap(), reference, "{text}");
    assert_eq!(familiar.parse::<Reference>().unwrap(), reference, "{text}");
}

#[test]
fn good() {
    check("busybox", "docker.io/library/busybox", "busybox");
    check("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36");
    check("docker.io/busybox", "docker.io/library/busybox", "busybox");
    check("index.docker.io/busybox", "docker.io/library/busybox", "busybox");
    check("library/busybox", "docker.io/library/busybox", "busybox");
    check("user/name:Tag_1.x-y", "docker.io/user/name:Tag_1.x-y", "user/name:Tag_1.x-y");
    check("localhost/x", "localhost/x", "localhost/x");
    check("localhost:5000/a/b:t", "localhost:5000/a/b:t", "localhost:5000/a/b:t");
    check("ghcr.io/o/r", "ghcr.io/o/r", "ghcr.io/o/r");
    check("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a");
    check("HOST/a", "HOST/a", "HOST/a");
    check("a--b/c__d.e_f", "docker.io/a--b/c__d.e_f", "a--b/c__d.e_f");
    check("docker.io/example.com/x", "docker.io/example.com/x", "docker.io/example.com/x");
    check("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b");
    let digest = Digest::sha256(b"");
    check(
        &format!("busybox:1@{digest}"),
        &format!("docker.io/library/busybox:1@{digest}"),
        &format!("busybox:1@{digest}"),
    );
    check(&format!("h:1/x@{digest}"), &format!("h:1/x@{digest}"), &format!("h:1/x@{digest}"));
}

#[test]
fn refused() {
    let long = "a/".repeat(130) + "a";
    let long_tag = format!("a:{}", "t".repeat(129));
    for text in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ":tag",
        "a:",
        "a:-t",
        "a:t:u",
        "a b",
        "a/../b",
        "..",
        "../a",
        "a..b",
        "a___b",
        "a_-b",
        "-a",
        "a-",
        "_a",
        "a/_tags",
        "a@",
        "a@sha256:ab",
        "é",
        "-host.com/a",
        "host-.com/a",
        "host..com/a",
        "host.com:/a",
        "host.com:x/a",
        "[::1/a",
        "[]/a",
        "[::1]x/a",
        "[::1]:/a",
        "a\n",
        "a\0b",
        "https://h/a",
        &long,
        &long_tag,
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
    }
    assert_eq!(
        "Foo".parse::<Reference>().unwrap_err().to_string(),
        "invalid reference format: repository name (library/Foo) must be lowercase"
    );
    assert!(matches!(
        "a".repeat(64).parse::<Reference>(),
        Err(ParseReferenceError::LooksLikeId(_))
    ));
}

#[test]
fn parts() {
    let reference: Reference = "a/b:t".parse().unwrap();
    assert_eq!(reference.with_tag("u").unwrap().familiar(), "a/b:u");
    assert!(reference.with_tag("/").is_err());
    let bare = reference.without_tag_and_digest();
    assert_eq!(bare.clone().with_default_tag().familiar(), "a/b:latest");
    assert_eq!(reference.clone().with_default_tag(), reference);
    assert_eq!(Reference::from_parts("docker.io", "a/b").unwrap(), bare);
    for (registry, repository) in [("docker.io", "b:t"), ("a", "b"), ("docker.io", ""), ("", "a")] {
        assert!(Reference::from_parts(registry, repository).is_err(), "{registry} {repository}");
    }
}
