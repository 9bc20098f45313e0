//! dpkg's status file, and the files of images that are made without dpkg. Spec: deb-control(5).

use super::{Ecosystem, Package, paragraphs};

pub(super) fn parse(bytes: &[u8]) -> Vec<Package> {
    paragraphs(bytes).iter().filter_map(|lines| package(lines)).collect()
}

fn package(lines: &[String]) -> Option<Package> {
    let field = |name: &str| {
        lines.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    // A package that was removed leaves its record with its settings. Records of single files
    // have no status: the package is there because they are.
    let installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
    let name = field("Package").filter(|name| installed && !name.is_empty())?;
    Some(Package {
        version: field("Version")?,
        architecture: field("Architecture").unwrap_or_default(),
        // `name (version)` where the version is another.
        source: field("Source")
            .and_then(|source| source.split_whitespace().next().map(str::to_owned))
            .filter(|source| *source != name),
        licence: None,
        ecosystem: Ecosystem::Deb,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed() {
        let text = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n\
                    Source: glibc (2.36-9)\nVersion: 2.36-9+deb12u1\nDescription: C\n more: text\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: broken\nStatus: install ok installed\n\n\nnonsense\n";
        let found = parse(text.as_bytes());
        let [package] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&package.name[..], &package.version[..]), ("libc6", "2.36-9+deb12u1"));
        assert_eq!(package.source.as_deref(), Some("glibc"));
        assert_eq!(parse(b"Package: one\nVersion: 1\n").len(), 1, "a file without a status");
        assert!(parse(b"\xff\x00\n:\n").is_empty());
    }
}
