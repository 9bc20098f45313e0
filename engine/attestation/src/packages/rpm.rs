//! rpm's databases: headers in SQLite (rpm 4.16 and later) or in `Packages.db` (SUSE's).
//! Spec: rpm's "Header structure"; "ndb" by its source's description of slots and blobs.

use super::{Ecosystem, Package, sqlite};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENCE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const SOURCE: u32 = 1044;

/// Index entries of one header; real ones have about a hundred.
const MAX_ENTRIES: usize = 65_536;

/// A key that signed packages is kept as a package of this name.
const KEY: &str = "gpg-pubkey";

pub(super) fn parse_sqlite(bytes: &[u8]) -> Vec<Package> {
    sqlite::blobs(bytes, "Packages").iter().filter_map(|header| package(header)).collect()
}

/// Pages of slots, each of which says where a blob lies. All numbers are little endian.
pub(super) fn parse_ndb(bytes: &[u8]) -> Vec<Package> {
    const PAGE: usize = 4096;
    const SLOT: usize = 16;
    let word = |at: usize| {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    if bytes.get(..4) != Some(b"RpmP") {
        return Vec::new();
    }
    let end = word(12).unwrap_or(0).saturating_mul(PAGE).min(bytes.len());
    // The file's own header takes two slots.
    let slots = (2 * SLOT..end).step_by(SLOT);
    slots
        .filter(|at| bytes.get(*at..at + 4) == Some(b"Slot"))
        .filter_map(|at| {
            let blob = word(at + 8).filter(|offset| *offset > 0)?.checked_mul(SLOT)?;
            let length = word(blob.checked_add(12)?)?;
            let start = blob.checked_add(SLOT)?;
            (bytes.get(blob..blob + 4)? == b"BlbS").then_some(())?;
            package(bytes.get(start..start.checked_add(length)?)?)
        })
        .collect()
}

/// A header: two lengths, an index, and the data it points into. All numbers are big endian.
fn package(header: &[u8]) -> Option<Package> {
    let word = |at: usize| {
        let bytes = header.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let entries = word(0)? as usize;
    if entries > MAX_ENTRIES {
        return None;
    }
    let data = header.get(8 + entries * 16..)?;
    let entry = |tag: u32| {
        let at = (0..entries).map(|entry| 8 + entry * 16).find(|at| word(*at) == Some(tag))?;
        data.get(word(at + 8)? as usize..)
    };
    let text = |tag: u32| {
        let bytes = entry(tag)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    let epoch = entry(EPOCH).and_then(|bytes| Some(u32::from_be_bytes(*bytes.first_chunk()?)));
    let name = text(NAME).filter(|name| !name.is_empty() && name != KEY)?;
    let (version, release) = (text(VERSION)?, text(RELEASE)?);
    Some(Package {
        name,
        version: match epoch {
            Some(epoch) => format!("{epoch}:{version}-{release}"),
            None => format!("{version}-{release}"),
        },
        architecture: text(ARCHITECTURE).unwrap_or_default(),
        source: text(SOURCE).filter(|source| !source.is_empty()),
        licence: text(LICENCE),
        ecosystem: Ecosystem::Rpm,
    })
}
