//! Installed packages, from the databases that package managers leave.

mod apk;
mod dpkg;
mod rpm;
mod sqlite;

use serde::{Deserialize, Serialize};

use crate::OsRelease;

/// A kind of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Debian's.
    Deb,
    /// Alpine's.
    Apk,
    /// Red Hat's.
    Rpm,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, with epoch and release as the ecosystem writes them.
    pub version: String,
    /// What it was built for.
    pub architecture: String,
    /// What it was built from, where that has another name.
    pub source: Option<String>,
    /// Its licence, as its database says.
    pub licence: Option<String>,
    /// Whose it is.
    pub ecosystem: Ecosystem,
}

/// Where a database lies and how it is read.
#[derive(Debug, Clone, Copy)]
pub struct Database {
    /// Path in a root file system, relative. A directory is one of dpkg's with a file per package.
    pub path: &'static str,
    /// What reads a file of it; what it cannot read as packages is left out.
    pub parse: fn(&[u8]) -> Vec<Package>,
}

/// All that are known.
pub const DATABASES: &[Database] = &[
    Database { path: "var/lib/dpkg/status", parse: dpkg::parse },
    Database { path: "var/lib/dpkg/status.d", parse: dpkg::parse },
    Database { path: "lib/apk/db/installed", parse: apk::parse },
    Database { path: "usr/lib/apk/db/installed", parse: apk::parse },
    Database { path: "var/lib/rpm/rpmdb.sqlite", parse: rpm::parse_sqlite },
    Database { path: "usr/lib/sysimage/rpm/rpmdb.sqlite", parse: rpm::parse_sqlite },
    Database { path: "var/lib/rpm/Packages.db", parse: rpm::parse_ndb },
    Database { path: "usr/lib/sysimage/rpm/Packages.db", parse: rpm::parse_ndb },
];

/// The packages in files of databases, each with its place in [`DATABASES`]; sorted, each once.
pub fn packages(files: &[(usize, Vec<u8>)]) -> Vec<Package> {
    let mut found: Vec<Package> = files
        .iter()
        .filter_map(|(database, bytes)| Some((DATABASES.get(*database)?.parse)(bytes)))
        .flatten()
        .collect();
    found.sort();
    found.dedup();
    found
}

impl Package {
    /// Its package URL. Spec: purl-spec, PURL-TYPES.
    pub fn url(&self, release: &OsRelease) -> String {
        let kind = match self.ecosystem {
            Ecosystem::Deb => "deb",
            Ecosystem::Apk => "apk",
            Ecosystem::Rpm => "rpm",
        };
        let mut url = format!("pkg:{kind}/");
        if !release.id.is_empty() {
            url.push_str(&encoded(&release.id.to_lowercase()));
            url.push('/');
        }
        url.push_str(&encoded(&self.name));
        url.push('@');
        url.push_str(&encoded(&self.version));
        let mut mark = '?';
        let mut qualifier = |name: &str, value: &str| {
            if !value.is_empty() {
                url.push(mark);
                url.push_str(&format!("{name}={}", encoded(value)));
                mark = '&';
            }
        };
        qualifier("arch", &self.architecture);
        let distro = format!("{}-{}", release.id, release.version);
        qualifier("distro", if release.version.is_empty() { "" } else { &distro });
        url
    }
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Records of lines, with an empty line between two.
fn paragraphs(bytes: &[u8]) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(bytes);
    let mut paragraphs = vec![Vec::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            paragraphs.push(Vec::new());
        } else if let Some(last) = paragraphs.last_mut() {
            last.push(line.to_owned());
        }
    }
    paragraphs.retain(|lines| !lines.is_empty());
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let package = Package {
            name: "libstdc++6".to_owned(),
            version: "1:12.2.0-14+deb12u1".to_owned(),
            architecture: "amd64".to_owned(),
            source: None,
            licence: None,
            ecosystem: Ecosystem::Deb,
        };
        let release =
            OsRelease { id: "debian".to_owned(), version: "12".to_owned(), ..Default::default() };
        let url = "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12";
        assert_eq!(package.url(&release), url);
        assert_eq!(
            package.url(&OsRelease::default()),
            "pkg:deb/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64"
        );
    }

    #[test]
    fn each_package_is_there_once() {
        let record = b"Package: a\nStatus: install ok installed\nVersion: 1\n".to_vec();
        let files = [(0, record.clone()), (1, record), (usize::MAX, Vec::new())];
        assert_eq!(packages(&files).len(), 1);
    }
}
