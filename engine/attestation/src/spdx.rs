//! A bill of materials. Spec: SPDX 2.3.

use hull_oci::Digest;
use serde_json::{Value, json};

use crate::{OsRelease, Package, Statement};

/// What this kind of statement is called.
const PREDICATE: &str = "https://spdx.dev/Document";

/// Says which packages are in an image: `name` is for display, `created` RFC 3339 in UTC, `tool` who
/// looked. Without a time in it but `created`, and with the same name for the same packages.
pub fn spdx(
    name: &str,
    release: &OsRelease,
    packages: &[Package],
    created: &str,
    tool: &str,
) -> Statement {
    let described: Vec<Value> = packages.iter().map(|package| about(package, release)).collect();
    let root = json!({
        "SPDXID": "SPDXRef-DocumentRoot-Image",
        "name": name,
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "comment": release.pretty_name,
    });
    let contains = described.iter().map(|package| {
        json!({
            "spdxElementId": root["SPDXID"],
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": package["SPDXID"],
        })
    });
    let describes = json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": root["SPDXID"],
    });
    let relationships: Vec<Value> = std::iter::once(describes).chain(contains).collect();
    let listed: Vec<Value> = std::iter::once(root.clone()).chain(described).collect();
    let content = Digest::sha256(Value::from(listed.clone()).to_string().as_bytes());
    let predicate = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/hull-{}", content.hex()),
        "creationInfo": { "created": created, "creators": [format!("Tool: {tool}")] },
        "packages": listed,
        "relationships": relationships,
    });
    Statement { predicate_type: PREDICATE, predicate }
}

fn about(package: &Package, release: &OsRelease) -> Value {
    let url = package.url(release);
    let id = Digest::sha256(url.as_bytes());
    json!({
        "SPDXID": format!("SPDXRef-Package-{}-{}", plain(&package.name), &id.hex()[..16]),
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "sourceInfo": match &package.source {
            Some(source) => format!("built from {source}"),
            None => format!("built from {}", package.name),
        },
        "licenseConcluded": "NOASSERTION",
        // What databases say is seldom an SPDX expression, which this field would have to be.
        "licenseDeclared": "NOASSERTION",
        "licenseComments": package.licence.as_deref().unwrap_or_default(),
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url,
        }],
    })
}

/// Letters, digits, `.` and `-`: what an identifier may have.
fn plain(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    name.chars().map(|c| if allowed(c) { c } else { '-' }).collect()
}
