use super::base64::{decode, encode_url};
use super::*;

#[test]
fn base64_of_both_alphabets() {
    for (bytes, text) in
        [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (&[0xfb, 0xff], "-_8")]
    {
        assert_eq!(encode_url(bytes), text);
        assert_eq!(decode(text).unwrap(), bytes);
    }
    assert_eq!(decode("Zg==").unwrap(), b"f");
    assert_eq!(decode("+/8=").unwrap(), [0xfb, 0xff]);
    assert!(decode("Z").is_none() && decode("Zg!").is_none());
}

#[test]
fn patterns() {
    let check = |pattern: &str, text: &str, expected: bool| {
        assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
    };
    check("**", "a/b", true);
    check("*", "a/b", false);
    check("*", "ab", true);
    check("team/*", "team/app", true);
    check("team/*", "team/app/x", false);
    check("team/**", "team/app/x", true);
    check("**/app", "app", true);
    check("**/app", "a/b/app", true);
    check("**/app", "a/bapp", false);
    check("v?.*", "v1.2", true);
    check("v?.*", "v/.2", false);
    check("", "", true);
    check("a", "", false);
    let many = "*a".repeat(200);
    check(&many, &"a".repeat(199), false);
}

#[test]
fn scopes() {
    let read = Scope::parse("repository:a/b:pull,push registry:catalog:* repository:x:*");
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].name, "a/b");
    assert_eq!(read[0].actions, [Action::Pull, Action::Push]);
    assert_eq!(read[1].actions, Action::ALL);
    assert!(Scope::parse("repository:../x:pull").is_empty());
}

fn access(rules: Vec<Rule>) -> Access {
    let (service, tokens) = ("here".to_owned(), TokenKey::generate("here"));
    Access { users: None, rules, tokens, service, offers_tokens: true }
}

fn rule(repository: &str, who: Who, actions: &[Action]) -> Rule {
    Rule { repositories: vec![Glob::new(repository)], who: vec![who], actions: actions.to_vec() }
}

#[test]
fn a_token_gives_no_more_than_the_rules() {
    let access = access(vec![
        rule("public/**", Who::Everyone, &[Action::Pull]),
        rule("team/**", Who::User("alice".to_owned()), &[Action::Pull, Action::Push]),
    ]);
    let scopes = Scope::parse("repository:team/app:pull,push,delete repository:other:pull");
    let grants = access.grants(Some("alice"), &scopes);
    assert_eq!(grants.len(), 1);
    let caller = access.tokens.read(&access.tokens.issue(Some("alice"), &grants)).unwrap();
    assert_eq!(caller.user(), Some("alice"));
    let team = RepositoryName::parse("team/app").unwrap();
    let public = RepositoryName::parse("public/app").unwrap();
    assert!(access.allows(&caller, &team, Action::Push));
    assert!(!access.allows(&caller, &team, Action::Delete));
    assert!(!access.allows(&caller, &public, Action::Pull), "not what the token is for");
    assert!(access.allows(&Caller::Anonymous, &public, Action::Pull));
    assert!(!access.allows(&Caller::Anonymous, &public, Action::Push));
    let mut forged = access.tokens.issue(Some("alice"), &grants);
    forged.pop();
    assert!(access.tokens.read(&forged).is_none());
    assert!(TokenKey::generate("here").read(&access.tokens.issue(None, &[])).is_none());
    // A token without a signature says so in its header.
    let none = format!("{}.{}.", encode_url(br#"{"alg":"none"}"#), encode_url(b"{}"));
    assert!(access.tokens.read(&none).is_none());
}

#[test]
fn passwords() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&path, format!("# users\n\nalice:{hash}\n")).unwrap();
    let users = Htpasswd::open(&path).unwrap();
    assert!(!users.remembers("alice", "secret"));
    assert!(users.verify("alice", "secret"));
    assert!(users.remembers("alice", "secret"));
    assert!(!users.verify("alice", "other") && !users.verify("bob", "secret"));
    assert!(!users.verify("alice", &format!("secret{}", "x".repeat(80))));
    for (text, part) in [
        ("alice:{SHA}x", "line 1: not a bcrypt hash"),
        ("\nalice", "line 2: no `:`"),
        (":x", "no user"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Htpasswd::open(&path).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(Htpasswd::open(&folder.path().join("none")).is_err());
}

#[test]
fn the_header() {
    let check = |text: &str, expected: Option<Presented>| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, text.parse().unwrap());
        assert_eq!(Presented::read(&headers).ok(), expected, "{text}");
    };
    let password = Presented::Password { user: "a".to_owned(), password: "b:c".to_owned() };
    check("Basic YTpiOmM=", Some(password));
    check("bearer x.y.z", Some(Presented::Token("x.y.z".to_owned())));
    check("Basic !", None);
    check("Digest x", None);
    check("Basic", None);
}
