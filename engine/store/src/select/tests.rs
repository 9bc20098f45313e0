use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }
    directory
}

fn opened(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn all(_: &[u8], _: bool) -> Verdict {
    Verdict::Take
}

/// `path:below,below` for each.
fn found(root: &Path, source: &str, filter: &Filter<'_>) -> Result<Vec<String>, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = select(opened(root).as_fd(), source, filter).map_err(|error| error.to_string())?;
    let below =
        |one: &Found| one.below.iter().map(|entry| text(&entry.path)).collect::<Vec<_>>().join(",");
    Ok(found.iter().map(|one| format!("{}:{}", text(&one.path), below(one))).collect())
}

#[test]
fn paths_and_patterns() {
    let root = tree(&[
        ("a/one.txt", "1"),
        ("a/two.txt", "2"),
        ("a/deep/three.txt", "3"),
        ("b/one.md", "x"),
        ("[odd]", "y"),
        ("link", "-> a/one.txt"),
        ("up", "-> ../../../../a"),
        ("abs", "-> /a/deep"),
        ("loop", "-> loop"),
    ]);
    let check = |source: &str, expected: &[&str]| {
        assert_eq!(found(root.path(), source, &all).unwrap(), expected, "{source}");
    };
    check("a/one.txt", &["a/one.txt:"]);
    check("/a/", &["a:deep,deep/three.txt,one.txt,two.txt"]);
    check("../../a/deep", &["a/deep:three.txt"]);
    check("a/*.txt", &["a/one.txt:", "a/two.txt:"]);
    check("*/one.*", &["a/one.txt:", "b/one.md:"]);
    check("a/?wo.txt", &["a/two.txt:"]);
    check("a/[a-o]*", &["a/deep:three.txt", "a/one.txt:"]);
    check("[[]odd]", &["[odd]:"]);
    check("nothing*", &[]);
    check("link", &["a/one.txt:"]);
    check("up/one.txt", &["a/one.txt:"]);
    check("abs", &["a/deep:three.txt"]);
    for bad in ["nothing", "a/one.txt/x", "loop", "[a"] {
        assert!(found(root.path(), bad, &all).is_err(), "{bad}");
    }
    let links = found(root.path(), ".", &all).unwrap();
    assert!(links[0].contains("abs,") && !links[0].contains("abs/"), "{links:?}");
}

#[test]
fn stars_of_any_depth() {
    let root = tree(&[
        ("a/one.txt", "1"),
        ("a/x/two.txt", "2"),
        ("a/x/y/two.txt", "3"),
        ("b/x/two.txt", "4"),
        ("a/away", "-> ../b"),
        ("a/back", "-> ."),
    ]);
    let check = |base: &str, pattern: &str, expected: &[&str]| {
        let found = select_deep(opened(root.path()).as_fd(), base, pattern, &all).unwrap();
        let named: Vec<_> = found.iter().map(|one| str::from_utf8(&one.named).unwrap()).collect();
        assert_eq!(named, expected, "{base} {pattern}");
    };
    check("", "a/**/two.txt", &["a/x/two.txt", "a/x/y/two.txt"]);
    check("a", "**/*.txt", &["a/one.txt", "a/x/two.txt", "a/x/y/two.txt"]);
    check("*", "x/**/t*", &["a/x/two.txt", "a/x/y/two.txt", "b/x/two.txt"]);
    check("", "**/y", &["a/x/y"]);
    check("", "**.txt", &["a/one.txt", "a/x/two.txt", "a/x/y/two.txt", "b/x/two.txt"]);
    check("a", "x/**", &["a/x/two.txt", "a/x/y"]);
    check("", "a/**/**/one.txt", &["a/one.txt"]);
    check("", "**/none", &[]);
    check("a", "", &["a"]);
    let missing = select_deep(opened(root.path()).as_fd(), "a", "none", &all);
    assert!(matches!(missing, Err(SelectError::NotFound(name)) if name == "a/none"));
}

#[test]
fn what_is_left_out_and_what_is_below_it() {
    let root = tree(&[("a/keep", "1"), ("a/x/keep", "2"), ("a/y/drop", "3"), ("b/keep", "4")]);
    let filter = |path: &[u8], directory: bool| match path {
        path if path.ends_with(b"keep") && !path.starts_with(b"b") => Verdict::Take,
        b"b" => Verdict::Skip,
        _ if directory => Verdict::Enter,
        _ => Verdict::Skip,
    };
    assert_eq!(found(root.path(), ".", &filter).unwrap(), [":a,a/keep,a/x,a/x/keep"]);
    assert_eq!(found(root.path(), "a", &filter).unwrap(), ["a:keep,x,x/keep"]);
    assert!(found(root.path(), "b", &filter).unwrap_err().contains("excluded"));
    assert!(found(root.path(), "a/y", &filter).unwrap_err().contains("excluded"));
}

#[test]
fn a_digest_is_of_content_and_never_of_time() {
    let root = tree(&[("d/a", "1"), ("d/b", "2"), ("d/l", "-> a")]);
    let of = |source: &str| {
        let tree = opened(root.path());
        let found = select(tree.as_fd(), source, &all).unwrap();
        let identity = Identity { owners: false };
        digest(tree.as_fd(), &found, identity, &mut StatCache::default()).unwrap()
    };
    let first = of("d");
    let a = fs::File::open(root.path().join("d/a")).unwrap();
    a.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(of("d"), first);
    fs::rename(root.path().join("d"), root.path().join("e")).unwrap();
    assert_eq!(of("e"), first, "the name of a directory does not show in what it holds");
    let file = of("e/a");
    let mut seen = vec![first];
    let mut changed = |what: &str| {
        let now = of("e");
        assert!(!seen.contains(&now), "{what}");
        seen.push(now);
    };
    fs::write(root.path().join("e/a"), "3").unwrap();
    changed("content");
    fs::set_permissions(root.path().join("e/a"), fs::Permissions::from_mode(0o755)).unwrap();
    changed("mode");
    fs::remove_file(root.path().join("e/l")).unwrap();
    symlink("b", root.path().join("e/l")).unwrap();
    changed("target of a link");
    fs::rename(root.path().join("e/b"), root.path().join("e/c")).unwrap();
    changed("name");
    assert_ne!(of("e/a"), file);
}

#[test]
fn many_files_have_one_digest_however_it_is_made() {
    let files: Vec<_> =
        (0..300).map(|number| (format!("d/{number}"), format!("{number}"))).collect();
    let files: Vec<_> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let root = tree(&files);
    let tree = opened(root.path());
    let found = select(tree.as_fd(), "d", &all).unwrap();
    let mut known = StatCache::default();
    let identity = Identity { owners: true };
    let first = digest(tree.as_fd(), &found, identity, &mut known).unwrap();
    assert_eq!(digest(tree.as_fd(), &found, identity, &mut known).unwrap(), first);
}

#[test]
fn patterns_as_go_has_them() {
    let check = |pattern: &str, name: &str, expected: Option<bool>| {
        assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
    };
    for (pattern, name) in [
        ("*", "x"),
        ("*", ""),
        ("a*b*c", "aXbYbZc"),
        ("[^a]x", "bx"),
        ("[a-cx]y", "xy"),
        ("\\*", "*"),
        ("?", "ü"),
        ("[ä-ü]", "ö"),
    ] {
        check(pattern, name, Some(true));
    }
    for (pattern, name) in [("a", "b"), ("?", ""), ("a*b", "aXc"), ("[^a]", "a"), ("*x", "y")] {
        check(pattern, name, Some(false));
    }
    for bad in ["[", "[a", "[]", "[-]", "\\", "[a-]"] {
        check(bad, "a", None);
    }
    let long = "a".repeat(200);
    check(&"a*".repeat(100), &format!("{long}b"), Some(true));
    check(&format!("{}c", "a*".repeat(100)), &format!("{long}b"), Some(false));
}
