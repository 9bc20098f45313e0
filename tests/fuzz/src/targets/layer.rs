//! Archives.

use std::io::BufReader;

use hull_store::layer::tar::{BLOCK, Entry, EntryKind, Reader, Writer};
use hull_store::layer::{LayerError, LayerPath};

use super::{Target, Verdict, as_it_is, verdict};

const HEADER: usize = 512;

pub(super) const TAR: Target = Target {
    name: "tar",
    check: tar,
    repair: checksums,
    words: &[
        b"ustar\x0000",
        b"ustar  \0",
        b"././@LongLink",
        b"x",
        b"g",
        b"L",
        b"K",
        b"../",
        b"/",
        b"\0",
        b"00000000001\0",
        b"\x80\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"77777777777\0",
        b"20 size=5\n",
        b".wh..wh..opq",
        b".wh.",
        b"GNU.sparse.major=1",
    ],
};

/// Gives every block that calls itself a header the checksum it should have.
fn checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(HEADER) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

type Members = Vec<(Entry, Vec<u8>)>;

/// Every member with its data.
fn members(bytes: &[u8], at_once: usize) -> Result<Members, LayerError> {
    let mut reader = Reader::new(BufReader::with_capacity(at_once, bytes));
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.read_data(|piece| {
            data.extend_from_slice(piece);
            Ok(())
        })?;
        members.push((entry, data));
    }
    let (_, length) = reader.finish()?;
    assert_eq!(length, bytes.len() as u64, "the length of the stream");
    Ok(members)
}

fn tar(bytes: &[u8]) -> Verdict {
    let parsed = members(bytes, 1 << 16);
    // How the bytes arrive does not matter.
    let in_pieces = members(bytes, 1);
    match (&parsed, &in_pieces) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        _ => panic!("{parsed:?} at once, {in_pieces:?} in pieces"),
    }
    if let Ok(members) = &parsed {
        let mut position = 0;
        for (entry, data) in members {
            assert!(entry.header_offset >= position && entry.data_offset % BLOCK == 0, "{entry:?}");
            assert!(entry.data_offset > entry.header_offset, "{entry:?}");
            position = entry.data_offset + entry.size;
            assert_eq!(entry.size, data.len() as u64, "{entry:?}");
            assert!(entry.kind == EntryKind::File || data.is_empty(), "{entry:?}");
            assert!(!entry.name.contains(&0), "{entry:?}");
            if let Ok(path) = LayerPath::parse(&entry.name) {
                let harmless = |part: &[u8]| !part.is_empty() && part != b".." && part != b".";
                assert!(path.components().all(harmless), "{entry:?}");
            }
        }
        rewritten(members);
    }
    verdict(parsed)
}

/// What we write, we read as it was.
fn rewritten(before: &Members) {
    let mut writer = Writer::new(Vec::new());
    let mut written = Vec::new();
    for (entry, data) in before {
        // A number that no header has a place for.
        if writer.entry(entry).is_err() {
            return;
        }
        writer.data(data).expect("as many bytes as the entry says");
        written.push((entry, data));
    }
    let Ok(bytes) = writer.finish() else { return };
    let after = members(&bytes, 1 << 16).expect("what we write we read");
    assert_eq!(after.len(), written.len());
    for ((new, new_data), (old, old_data)) in after.iter().zip(written) {
        let mut name = old.name.clone();
        if old.kind == EntryKind::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        assert_eq!((&new.name, &new.kind), (&name, &old.kind));
        assert_eq!((new.mode, new.uid, new.gid), (old.mode, old.uid, old.gid), "{old:?}");
        assert_eq!((new.mtime, &new.xattrs), (old.mtime, &old.xattrs), "{old:?}");
        assert_eq!(new_data, old_data);
    }
}

pub(super) const PAX: Target = Target {
    name: "pax",
    check: pax,
    repair: as_it_is,
    words: &[
        b"path=",
        b"linkpath=",
        b"size=",
        b"mtime=",
        b"SCHILY.xattr.user.a=",
        b"GNU.sparse.map=",
        b"=",
        b"\n",
        b" ",
        b"0",
        b"-1",
        b"\0",
        b"9999999999999999999",
        b"1.5",
        b"hdrcharset=BINARY\n",
        b"30 mtime=1350244992.023960108\n",
        b"11 path=ab\n",
        b"10 size=5\n",
    ],
};

/// The bytes as the records of an extended header, before one file of five bytes.
fn pax(bytes: &[u8]) -> Verdict {
    let mut archive = header(b"pax", b'x', bytes.len());
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(HEADER), 0);
    archive.extend(header(b"file", b'0', 5));
    archive.extend_from_slice(b"hello");
    archive.resize(archive.len().next_multiple_of(HEADER) + 2 * HEADER, 0);
    checksums(&mut archive);
    tar(&archive)
}

fn header(name: &[u8], kind: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; HEADER];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}
