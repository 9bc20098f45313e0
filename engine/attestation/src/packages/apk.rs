//! apk's list of what is installed. Spec: apk-package(5), "installed database".

use super::{Ecosystem, Package, paragraphs};

pub(super) fn parse(bytes: &[u8]) -> Vec<Package> {
    paragraphs(bytes).iter().filter_map(|lines| package(lines)).collect()
}

fn package(lines: &[String]) -> Option<Package> {
    let field = |key: &str| {
        lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::to_owned)
    };
    let name = field("P").filter(|name| !name.is_empty())?;
    Some(Package {
        version: field("V")?,
        architecture: field("A").unwrap_or_default(),
        source: field("o").filter(|origin| *origin != name),
        licence: field("L"),
        ecosystem: Ecosystem::Apk,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed() {
        let text = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld.so\n\n\
                    P:musl-utils\nV:1.2.5-r0\nA:x86_64\no:musl\n\nV:1\n";
        let found = parse(text.as_bytes());
        let names: Vec<(&str, Option<&str>)> =
            found.iter().map(|package| (&package.name[..], package.source.as_deref())).collect();
        assert_eq!(names, [("musl", None), ("musl-utils", Some("musl"))]);
        assert_eq!(found[0].licence.as_deref(), Some("MIT"));
    }
}
