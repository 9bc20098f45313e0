//! What a registry asks for. Spec: RFC 9110, 11.6.1; distribution, "Token Authentication".

/// The most parameters that are read.
const MAX_PARAMETERS: usize = 32;

/// What a registry wants to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password.
    Basic,
    /// A token of a token server.
    Bearer {
        /// The token server's address, as it came.
        realm: String,
        /// What the registry calls itself there.
        service: Option<String>,
        /// What the token has to allow, separated by spaces.
        scope: Option<String>,
        /// Why the one that was sent is not enough.
        error: Option<String>,
    },
}

impl Challenge {
    /// The strongest challenge of these `WWW-Authenticate` headers that is known here: a token
    /// before a password.
    pub fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut best = None;
        for header in headers {
            for challenge in parse(header) {
                match challenge {
                    Self::Bearer { .. } => return Some(challenge),
                    Self::Basic => best = Some(challenge),
                }
            }
        }
        best
    }
}

/// The known challenges of one header.
fn parse(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    for _ in 0..MAX_PARAMETERS {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, after)) = token(rest) else { break };
        let after_spaces = after.trim_start_matches([' ', '\t']);
        if let Some(value) = after_spaces.strip_prefix('=') {
            let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else {
                break;
            };
            let Some((_, parameters)) = schemes.last_mut() else { break };
            parameters.push((word.to_ascii_lowercase(), value));
            rest = after;
        } else {
            schemes.push((word.to_ascii_lowercase(), Vec::new()));
            rest = after;
        }
    }
    schemes.into_iter().filter_map(|(scheme, parameters)| known(&scheme, &parameters)).collect()
}

fn known(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let find = |name: &str| {
        parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: find("realm")?,
            service: find("service"),
            scope: find("scope"),
            error: find("error"),
        }),
        _ => None,
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(headers: &[&str]) -> Option<Challenge> {
        Challenge::best(headers.iter().copied())
    }

    #[test]
    fn read() {
        let bearer = best(&[
            "Bearer realm=\"https://auth.example/token\",service=\"registry \\\"x\\\"\" , \
             scope=\"repository:a/b:pull,push repository:c:pull\", error=invalid_token",
        ]);
        assert_eq!(
            bearer,
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".to_owned(),
                service: Some("registry \"x\"".to_owned()),
                scope: Some("repository:a/b:pull,push repository:c:pull".to_owned()),
                error: Some("invalid_token".to_owned()),
            })
        );
        assert_eq!(best(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        let both = best(&["Negotiate, basic realm=x, BEARER realm=\"y\""]);
        assert!(matches!(both, Some(Challenge::Bearer { realm, .. }) if realm == "y"));
        let two = best(&["Basic realm=x", "Bearer realm=y"]);
        assert!(matches!(two, Some(Challenge::Bearer { .. })));
    }

    #[test]
    fn nothing_known() {
        for header in
            ["", "Negotiate", "Bearer", "Bearer service=x", "=x", "Bearer realm=\"open", ",,,", "é"]
        {
            assert_eq!(best(&[header]), None, "{header}");
        }
        let long = format!("Bearer {} realm=\"x\"", "a=b,".repeat(1000));
        assert_eq!(best(&[&long]), None);
    }
}
