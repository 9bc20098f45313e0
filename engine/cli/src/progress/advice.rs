//! What somebody may do about a failed pull or push, where the engine gives no advice itself.

/// What was asked of a registry, for the words of the advice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// What people call the registry: `docker.io`, `localhost:5000`.
    pub(crate) registry: &'a str,
    /// Whether credentials were sent.
    pub(crate) logged_in: bool,
}

/// Advice for what an engine, or a registry through it, said.
pub(crate) fn advice(message: &str, subject: Subject<'_>) -> Option<String> {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let registry = subject.registry;
    let login = if registry == "docker.io" {
        "hull login".to_owned()
    } else {
        format!("hull login {registry}")
    };
    if says(&["server gave http response to https client"]) {
        return Some(format!(
            "{registry} speaks plain HTTP: name it among the insecure registries to allow that"
        ));
    }
    if says(&["x509:", "certificate"]) {
        return Some(format!("the certificate of {registry} is not one that this host trusts"));
    }
    if says(&["toomanyrequests", "too many requests", "rate limit"]) {
        return Some(format!(
            "{registry} limits how often it is asked; `{login}` raises the limit of some"
        ));
    }
    if says(&["manifest unknown", "not found: manifest", "no matching manifest", "no such image"]) {
        return Some("is the tag misspelt, or made for another platform?".to_owned());
    }
    if says(&[
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "denied",
        "forbidden",
        "authorization failed",
    ]) {
        return Some(match (subject.logged_in, message.contains("may require")) {
            (true, _) => format!(
                "is the name misspelt? The stored login for {registry} may lack the right to it"
            ),
            (false, true) => {
                format!("is the name misspelt? For a private repository log in first: `{login}`")
            }
            (false, false) => format!("log in first: `{login}`"),
        });
    }
    if says(&[
        "no such host",
        "name resolution",
        "server misbehaving",
        "network is unreachable",
        "no route to host",
    ]) {
        return Some(format!("is this host online, and the name {registry} right?"));
    }
    if says(&[
        "connection refused",
        "i/o timeout",
        "deadline exceeded",
        "connection reset",
        "timed out",
    ]) {
        return Some(format!("{registry} does not answer: is it running, and is a proxy needed?"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_failure() {
        let table = [
            (
                "pull access denied for nosuch, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                "is the name misspelt? For a private repository log in first: `hull login r.example`",
            ),
            ("unauthorized: authentication required", "log in first: `hull login r.example`"),
            (
                "Head \"https://r.example/v2/x/manifests/latest\": no basic auth credentials",
                "log in first: `hull login r.example`",
            ),
            (
                "manifest for r.example/x:nope not found: manifest unknown: manifest unknown",
                "is the tag misspelt, or made for another platform?",
            ),
            (
                "Get \"https://r.example/v2/\": dial tcp: lookup r.example: no such host",
                "is this host online, and the name r.example right?",
            ),
            (
                "dial tcp 127.0.0.1:5: connect: connection refused",
                "r.example does not answer: is it running, and is a proxy needed?",
            ),
            (
                "http: server gave HTTP response to HTTPS client",
                "r.example speaks plain HTTP: name it among the insecure registries to allow that",
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                "the certificate of r.example is not one that this host trusts",
            ),
            (
                "toomanyrequests: You have reached your pull rate limit",
                "r.example limits how often it is asked; `hull login r.example` raises the limit of some",
            ),
        ];
        let subject = Subject { registry: "r.example", logged_in: false };
        for (message, expected) in table {
            assert_eq!(advice(message, subject).as_deref(), Some(expected), "{message}");
        }
        assert_eq!(advice("the disk is full", subject), None);
        let hub = Subject { registry: "docker.io", logged_in: true };
        assert!(
            advice("denied: requested access", hub).unwrap().contains("stored login for docker.io")
        );
        let hub = Subject { logged_in: false, ..hub };
        assert_eq!(advice("unauthorized", hub).unwrap(), "log in first: `hull login`");
    }
}
