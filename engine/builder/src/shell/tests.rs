use super::*;

fn environment() -> Environment {
    let mut environment = Environment::default();
    for (name, value) in [
        ("A", "hello"),
        ("B", "two words"),
        ("EMPTY", ""),
        ("PATH", "/home:/bin"),
        ("FILE", "a.tar.gz"),
        ("LONG", "aXbXc"),
        ("한", "u"),
        ("LINES", "x\ny"),
    ] {
        environment.set(name, value);
    }
    environment
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let expanded = Lexer::new('\\').expand(text, &environment());
    assert_eq!(expanded.map(|expanded| expanded.text).as_deref(), Ok(expected), "{text}");
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = Lexer::new('\\').expand(text, &environment()).unwrap_err().to_string();
    assert!(error.contains(expected), "{text}: {error}");
}

#[test]
fn quotes_and_escapes() {
    check("plain", "plain");
    check("a 'b  c' \"d\"", "a b  c d");
    check("'$A'", "$A");
    check("\"$A\"", "hello");
    check("\"it's\"", "it's");
    check("'say \"x\"'", "say \"x\"");
    check("\\$A", "$A");
    check("\"\\$A\"", "$A");
    check("'\\$A'", "\\$A");
    check("\"\\n\"", "\\n");
    check("\"\\\\\"", "\\");
    check("\"\\\"\"", "\"");
    check("a\\ b", "a b");
    check("a\\", "a");
    check("\\\\", "\\");
    check("", "");
    check("''", "");
    refused("'a", "matching single-quote");
    refused("\"a", "matching double-quote");
}

#[test]
fn the_escape_character_can_be_the_backtick() {
    let expand = |text: &str| Lexer::new('`').expand(text, &environment()).unwrap().text;
    assert_eq!(expand("`$A"), "$A");
    assert_eq!(expand("C:\\x"), "C:\\x");
    assert_eq!(expand("\"`\"\\\""), "\"\\");
}

#[test]
fn variables() {
    check("$A", "hello");
    check("${A}", "hello");
    check("$A$A", "hellohello");
    check("$A-x", "hello-x");
    check("$A_x", "");
    check("${A}_x", "hello_x");
    check("$NOPE", "");
    check("a$", "a$");
    check("$ x", "$ x");
    check("$/x", "$/x");
    check("$1x", "x");
    check("$@", "");
    check("$$A", "A");
    check("$#", "");
    check("$한", "u");
    for (text, reason) in [
        ("${A", "missing '}'"),
        ("${", "missing '}'"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${{A}", "bad substitution"),
        ("${A!x}", "unsupported modifier (!)"),
        ("${A:", "missing '}'"),
        ("${A:=x}", "unsupported modifier (:=)"),
        ("${A:#x}", "unsupported modifier (:#)"),
        ("${A:-x", "missing '}'"),
        ("${A/x", "missing '/'"),
        ("${A/x/y", "missing '}'"),
    ] {
        refused(text, reason);
    }
}

#[test]
fn defaults_and_alternatives() {
    for (text, expected) in [
        ("${A:-x}", "hello"),
        ("${A-x}", "hello"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${NOPE:-x}", "x"),
        ("${NOPE-x}", "x"),
        ("${A:+x}", "x"),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${NOPE+x}", ""),
        ("${A:?x}", "hello"),
        ("${EMPTY?x}", ""),
        ("${NOPE:-$A}", "hello"),
        ("${NOPE:-${EMPTY:-deep}}", "deep"),
        ("${NOPE:-'a b'}", "a b"),
        ("${NOPE:-\"$A\"}", "hello"),
        ("${NOPE:-a\\}b}", "a}b"),
        ("${NOPE:-}", ""),
    ] {
        check(text, expected);
    }
    refused("${NOPE?}", "NOPE: is not allowed to be unset");
    refused("${NOPE?not there}", "NOPE: not there");
    refused("${EMPTY:?}", "EMPTY: is not allowed to be empty");
    refused("${EMPTY:?say it}", "EMPTY: say it");
}

#[test]
fn patterns() {
    for (text, expected) in [
        ("${FILE#*.}", "tar.gz"),
        ("${FILE##*.}", "gz"),
        ("${FILE%.*}", "a.tar"),
        ("${FILE%%.*}", "a"),
        ("${FILE#x}", "a.tar.gz"),
        ("${FILE#a?}", "tar.gz"),
        ("${PATH%%:*}", "/home"),
        ("${PATH#*:}", "/bin"),
        ("${PATH##*\\/}", "bin"),
        ("${LONG/X/-}", "a-bXc"),
        ("${LONG//X/-}", "a-b-c"),
        ("${LONG//X/}", "abc"),
        ("${LONG/X*/}", "a"),
        ("${LONG/?/_}", "_XbXc"),
        ("${LONG//?/_}", "_____"),
        ("${LONG/[aX]/_}", "aXbXc"),
        ("${PATH//\\//|}", "|home:|bin"),
        ("${PATH/$A/x}", "/home:/bin"),
        ("${A/l*/$A}", "hehello"),
        ("${LINES%y}", "x\n"),
        ("${LINES#*}", "x\ny"),
        ("${LINES##*}", "\ny"),
        ("${EMPTY//x/y}", ""),
    ] {
        check(text, expected);
    }
    refused("${A#\\x}", "invalid escape");
}

#[test]
fn words_are_split_after_expansion() {
    let words = |text: &str| Lexer::new('\\').expand(text, &environment()).unwrap().words;
    assert_eq!(words("$B"), ["two", "words"]);
    assert_eq!(words("\"$B\""), ["two words"]);
    assert_eq!(words(" a  $B\\ c 'd e'f"), ["a", "two", "words c", "d ef"]);
    assert_eq!(words("$EMPTY"), [""; 0]);
    assert_eq!(words("''"), [""; 0]);
}

#[test]
fn what_was_used_and_what_was_missing() {
    let expanded = Lexer::new('\\').expand("$A ${NOPE:-$OTHER} $B", &environment()).unwrap();
    assert_eq!(Vec::from_iter(expanded.matched), ["A", "B"]);
    assert_eq!(Vec::from_iter(expanded.unmatched), ["NOPE", "OTHER"]);
}

#[test]
fn display_leaves_what_is_unset() {
    let display = |text: &str| Lexer::for_display('\\').expand(text, &environment()).unwrap().text;
    assert_eq!(
        display("echo \"$A\" '$A' $NOPE ${NOPE} ${NOPE:-x} ${NOPE/a/b} $?"),
        "echo \"hello\" '$A' $NOPE ${NOPE} ${NOPE:-x} ${NOPE/a/b} $?"
    );
}

#[test]
fn heredocs_keep_quotes() {
    let text = Lexer::for_heredoc().expand("say \"$A\" 'a\\$A'", &environment()).unwrap().text;
    assert_eq!(text, "say \"hello\" 'a$A'");
}

#[test]
fn nesting_and_growth_have_bounds() {
    let deep = "${NOPE:-".repeat(5000);
    refused(&deep, "nest deeper");
    let mut big = Environment::default();
    big.set("X", &"x".repeat(1 << 20));
    let text = "$X".repeat(40);
    let error = Lexer::new('\\').expand(&text, &big).unwrap_err().to_string();
    assert!(error.contains("larger than"), "{error}");
    let text = "${X//?/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}";
    assert!(Lexer::new('\\').expand(text, &big).is_err());
}

proptest::proptest! {
    /// Any text expands or fails, and text without special characters stays as it is.
    #[test]
    fn never_panics(text in "[$ {}:#%/?*a-cA-C'\"\\\\\n`-]{0,40}") {
        for lexer in [
            Lexer::new('\\'), Lexer::new('`'), Lexer::for_heredoc(), Lexer::for_display('\\'),
            Lexer::for_words(),
        ] {
            let _ = lexer.expand(&text, &environment());
        }
    }

    #[test]
    fn plain_text_stays(text in "[^$'\"\\\\]{0,40}") {
        proptest::prop_assert_eq!(Lexer::new('\\').expand(&text, &environment()).unwrap().text, text);
    }

    #[test]
    fn single_quotes_protect(text in "[^']{0,40}") {
        let quoted = format!("'{text}'");
        proptest::prop_assert_eq!(Lexer::new('\\').expand(&quoted, &environment()).unwrap().text, text);
    }
}
