use super::*;

fn ignore(lines: &str) -> Ignore {
    Ignore::parse(lines.as_bytes()).unwrap()
}

/// Lines of a `.dockerignore` (`;` between them), a path, whether it is excluded.
#[test]
fn table() {
    for (lines, path, expected) in [
        // Comments, blanks, spaces.
        ("#a", "#a", false),
        (" #a", "#a", true),
        ("", "a", false),
        ("  a  ", "a", true),
        ("\u{feff}a", "a", true),
        // Plain names mean the root.
        ("a", "a", true),
        ("a", "b", false),
        ("a", "x/a", false),
        ("a", "ab", false),
        ("/a", "a", true),
        ("./a", "a", true),
        ("a/", "a", true),
        ("a//b", "a/b", true),
        ("a/../b", "b", true),
        ("../a", "a", false),
        ("/../a", "a", true),
        (".", "a", false),
        ("/", "a", false),
        // What is below a match.
        ("a", "a/b/c", true),
        ("a/b", "a/b/c", true),
        ("a/b", "a/c", false),
        ("*/b", "a/b/c", true),
        // Wildcards within a component.
        ("*", "a", true),
        ("*", "a/b", true),
        ("*.md", "a.md", true),
        ("*.md", "x/a.md", false),
        ("*/*.md", "x/a.md", true),
        ("*/*.md", "x/y/a.md", false),
        ("a*", "a", true),
        ("a*b", "a/b", false),
        ("?", "a", true),
        ("?", "ab", false),
        ("a?b", "a/b", false),
        ("[a-c]x", "bx", true),
        ("[a-c]x", "dx", false),
        ("[^a-c]x", "dx", true),
        ("[^a]b", "/b", false),
        ("a[.]b", "a.b", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("\\!a", "!a", true),
        ("a.b", "axb", false),
        ("a+b", "a+b", true),
        ("a(b|c)", "a(b|c)", true),
        ("$x^", "$x^", true),
        // Two stars.
        ("**", "a/b", true),
        ("**/a", "a", true),
        ("**/a", "x/y/a", true),
        ("**/a", "xa", false),
        ("**/a", "x/a/b", true),
        ("**/*.go", "a.go", true),
        ("**/*.go", "x/y/a.go", true),
        ("a/**", "a", false),
        ("a/**", "a/b/c", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("a**", "abc/d", true),
        ("**a", "x/a", true),
        ("**a", "xa", false),
        ("**/", "a/b", true),
        ("**/.git", "sub/.git/config", true),
        // Includes again, the last one decides.
        ("a;!a", "a", false),
        ("!a;a", "a", true),
        ("*;!a", "a", false),
        ("*;!a", "b", true),
        ("*.md;!README.md", "README.md", false),
        ("*.md;!README*.md;README-s.md", "README-s.md", true),
        ("a;!a/b", "a/b", false),
        ("a;!a/b", "a/c", true),
        ("a;!a/b", "a/b/c", false),
        ("a;!a/b;a/b/c", "a/b/c", true),
        ("! a", "a", false),
        ("a;! a", "a", false),
        ("**/*;!**/*.go", "x/a.go", false),
        ("**/*;!**/*.go", "x/a.c", true),
        ("x/*;!x/a", "x/a/b", false),
    ] {
        let lines = lines.replace(';', "\n");
        assert_eq!(ignore(&lines).excludes(path), expected, "{lines:?} {path:?}");
    }
}

#[test]
fn refused() {
    for (text, reason) in [
        ("a\n[", "line 2: a bracket that does not close"),
        ("[a", "does not close"),
        ("[]", "a range without an end"),
        ("[a-]", "a range without an end"),
        ("a\\", "escapes nothing"),
        ("!", "illegal exclusion pattern"),
    ] {
        let error = Ignore::parse(text.as_bytes());
        match error {
            Err(error) => assert!(error.to_string().contains(reason), "{text}: {error}"),
            Ok(_) => panic!("{text}"),
        }
    }
    assert!(Ignore::parse(&vec![b'a'; MAX_BYTES + 1]).is_err());
    assert!(Ignore::parse("a\n".repeat(MAX_PATTERNS + 1).as_bytes()).is_err());
    assert!(Ignore::parse("a".repeat(5000).as_bytes()).is_err());
}

/// Lines, an excluded directory, whether it has to be looked into.
#[test]
fn pruning() {
    for (lines, directory, expected) in [
        ("a", "a", false),
        ("a;!a/b", "a", true),
        ("a;!b/c", "a", false),
        ("*;!src", "node_modules", false),
        ("*;!src/lib", "src", true),
        ("*;!**/*.go", "x", true),
        ("!a/b;a", "a", false),
        ("a;!a*/b", "a", true),
        ("a;!a?/b", "a", false),
        ("a;!a/b/c/d", "a/b", true),
        ("a;!a/b/c/d", "a/x", false),
        ("a;!*/b", "a", true),
        ("a;!*/b", "a/b", false),
        ("a;!*/c", "a/b", false),
    ] {
        let ignore = ignore(&lines.replace(';', "\n"));
        let mut level = ignore.root();
        for (end, _) in directory.match_indices('/') {
            level = level.child(&directory[..end]);
        }
        assert_eq!(level.child(directory).may_include_below(), expected, "{lines} {directory}");
    }
}

#[test]
fn what_it_says_as_a_whole() {
    assert!(ignore("#a\n\n").is_empty());
    assert!(ignore("a\n!b").includes_again() && !ignore("a").includes_again());
    assert!(ignore("a\n**").excludes_all() && !ignore("a/*").excludes_all());
    assert!(!ignore("!*").excludes_all());
}

proptest::proptest! {
    #[test]
    fn any_bytes_parse_or_fail(bytes: Vec<u8>, path in "[a-c/.]{0,12}") {
        if let Ok(ignore) = Ignore::parse(&bytes) {
            let _ = ignore.excludes(&path);
        }
    }

    /// A directory that need not be looked into holds nothing that is included.
    #[test]
    fn pruning_loses_nothing(
        lines in proptest::collection::vec("!?(\\*\\*|\\*|[ab]|a\\*|\\?)(/(\\*\\*|\\*|[ab]|\\?)){0,2}", 1..5),
        path in "[ab](/[ab]){0,3}",
    ) {
        let ignore = ignore(&lines.join("\n"));
        let mut level = ignore.root();
        for (end, _) in path.match_indices('/') {
            level = level.child(&path[..end]);
            if level.is_excluded() && !level.may_include_below() {
                proptest::prop_assert!(ignore.excludes(&path), "{:?} {}", lines, path);
            }
        }
    }
}
