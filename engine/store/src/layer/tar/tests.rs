//! Headers of every dialect, and bytes that are none.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::layer::LayerError;

/// A ustar header with a right checksum, to be changed by `change` before it is summed.
fn block(name: &[u8], flag: u8, size: u64, change: impl FnOnce(&mut [u8; 512])) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000640\0");
    block[108..116].copy_from_slice(b"0000012\0");
    block[116..124].copy_from_slice(b"0000013\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000144\0");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    sum(&mut block);
    block
}

fn sum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Header and padded data.
fn member(name: &[u8], flag: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = block(name, flag, data.len() as u64, |_| {}).to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn entries(bytes: &[u8]) -> Result<Vec<Entry>, LayerError> {
    let mut reader = Reader::new(Cursor::new(bytes));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    reader.finish()?;
    Ok(entries)
}

fn only(bytes: &[u8]) -> Entry {
    let mut entries = entries(bytes).unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

fn refused(bytes: &[u8], problem: &str) {
    let error = entries(bytes).unwrap_err().to_string();
    assert!(error.contains(problem), "{error:?}, not {problem:?}");
}

#[test]
fn a_plain_header() {
    let entry = only(&member(b"a/b", b'0', b"data"));
    assert_eq!(entry.name, b"a/b");
    assert_eq!(entry.kind, EntryKind::File);
    assert_eq!((entry.mode, entry.uid, entry.gid), (0o640, 10, 11));
    assert_eq!(entry.mtime, Time { seconds: 100, nanoseconds: 0 });
    assert_eq!((entry.size, entry.header_offset, entry.data_offset), (4, 0, 512));
}

#[test]
fn dialects() {
    let v7 = |flag| block(b"old/", flag, 0, |block| block[257..265].fill(0));
    assert_eq!(only(&v7(0)).kind, EntryKind::Directory);
    let prefixed = block(b"name", b'0', 0, |block| block[345..350].copy_from_slice(b"a/b/c"));
    assert_eq!(only(&prefixed).name, b"a/b/c/name");
    let star = block(b"name", b'0', 0, |block| {
        block[345] = b'p';
        block[476..487].copy_from_slice(b"00000000001");
        block[508..].copy_from_slice(b"tar\0");
    });
    assert_eq!(only(&star).name, b"p/name");
    // GNU keeps times where ustar has the prefix.
    let gnu = block(b"name", b'0', 0, |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        block[345..356].copy_from_slice(b"14000000000");
    });
    assert_eq!(only(&gnu).name, b"name");
    let device = block(b"d", b'3', 0, |block| {
        block[329..337].copy_from_slice(b"0000001\0");
        block[337..345].copy_from_slice(b"0001003\0");
    });
    assert_eq!(only(&device).kind, EntryKind::CharacterDevice(Device { major: 1, minor: 0o1003 }));
    // Sums of signed characters are as good.
    let mut signed = block(b"\xff\xff", b'0', 0, |_| {});
    let total: i32 = signed
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            i32::from(byte.cast_signed())
        })
        .sum();
    signed[148..156].copy_from_slice(format!("{total:06o}\0 ").as_bytes());
    assert_eq!(only(&signed).name, b"\xff\xff");
}

#[test]
fn long_names() {
    let long = [b'n'; 300];
    let gnu = [
        member(b"././@LongLink", b'L', &[&long[..], b"\0"].concat()),
        member(b"././@LongLink", b'K', b"target\0"),
        member(b"short", b'2', b""),
    ]
    .concat();
    let entry = only(&gnu);
    assert_eq!(entry.name, long);
    assert_eq!(entry.kind, EntryKind::Symlink(b"target".to_vec()));
    assert_eq!(entry.header_offset, 0);
    let pax =
        [member(b"x", b'x', b"13 path=longer\n12 uid=70000\n"), member(b"short", b'0', b"data")]
            .concat();
    // "13 path=longer\n" is 15 bytes long: malformed records are refused, not guessed.
    refused(&pax, "malformed");
    let pax =
        [member(b"x", b'x', b"15 path=longer\n13 uid=70000\n"), member(b"short", b'0', b"data")]
            .concat();
    let entry = only(&pax);
    assert_eq!((entry.name.as_slice(), entry.uid), (&b"longer"[..], 70_000));
    let both = [
        member(b"x", b'x', b"15 path=longer\n"),
        member(b"././@LongLink", b'L', b"other\0"),
        member(b"short", b'0', b"data"),
    ]
    .concat();
    refused(&both, "two different long names");
}

#[test]
fn the_pax_size_counts_for_data_and_for_the_next_header() {
    // CVE-2025-62518: with the header's size, the data would be read as headers.
    let inner = member(b"smuggled", b'0', b"");
    let mut bytes = member(b"x", b'x', b"12 size=512\n");
    bytes.extend(block(b"outer", b'0', 0, |_| {}));
    bytes.extend(&inner);
    bytes.extend(member(b"last", b'0', b""));
    let entries = entries(&bytes).unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_slice()).collect();
    assert_eq!(names, [&b"outer"[..], b"last"]);
    assert_eq!(entries[0].size, 512);
}

#[test]
fn bad_headers_are_refused_with_their_offset() {
    let first = member(b"first", b'0', b"data");
    let after = |bytes: &[u8]| [&first, bytes].concat();
    let mut wrong = block(b"a", b'0', 0, |_| {});
    wrong[0] = b'b';
    refused(&after(&wrong), "byte 1024: the header's checksum is wrong");
    refused(&after(&block(b"d", b'5', 1, |_| {})), "holds no data has a size");
    refused(&after(&block(b"l", b'2', 0, |_| {})), "link without a target");
    refused(&after(&block(b"", b'0', 0, |_| {})), "name is empty");
    refused(&after(&block(b"s", b'S', 0, |_| {})), "sparse");
    refused(&after(&block(b"q", b'q', 0, |_| {})), "type is not known");
    refused(&after(&block(b"big", b'0', 0, |block| block[124..136].fill(0xff))), "negative");
    refused(&after(&member(b"g", b'g', b"9 path=a\n")), "global pax header sets path");
    refused(&after(&block(b"x", b'x', 2 << 20, |_| {})), "longer than 1 MiB");
    refused(&after(&member(b"x", b'x', b"11 size=10\n")), "ends after an extension header");
    refused(&after(&[1; 100]), "byte 1024: the archive ends inside a header");
    refused(&after(&block(b"cut", b'0', 10, |_| {})), "ends 10 bytes before the end of \"cut\"");
    refused(&after(&[&[0; 512][..], &first].concat()), "stands alone");
    let zeros = [0; 1024];
    refused(&after(&[&zeros[..], b"x"].concat()), "byte 2048: something follows the end");
    assert_eq!(entries(&after(&zeros)).unwrap().len(), 1);
    assert_eq!(entries(&after(&[0; 4096])).unwrap().len(), 1);
    assert_eq!(entries(b"").unwrap().len(), 0);
}

#[test]
fn extension_headers_of_one_entry_are_bounded_together() {
    let mut bytes = Vec::new();
    for _ in 0..5 {
        bytes.extend(member(
            b"x",
            b'x',
            &[b"262144 comment=", &[b'c'; 262_128][..], b"\n"].concat(),
        ));
    }
    bytes.extend(member(b"a", b'0', b""));
    refused(&bytes, "longer than 1 MiB");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = entries(&bytes);
    }

    /// Headers whose checksum is right get further.
    #[test]
    fn any_header_is_read_or_refused(
        mut header in proptest::array::uniform32(any::<[u8; 16]>()),
        flag in proptest::sample::select(b"0123457xgLKS\0".to_vec()),
        body in proptest::collection::vec(any::<u8>(), 0..1024),
    ) {
        let mut block: [u8; 512] = header.as_flattened().try_into().unwrap();
        header.reverse();
        block[156] = flag;
        for field in [100..108, 108..116, 116..124, 136..148] {
            block[field].fill(b'0');
        }
        block[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
        sum(&mut block);
        let mut bytes = block.to_vec();
        bytes.extend(&body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(member(b"next", b'0', b""));
        let _ = entries(&bytes);
    }

    #[test]
    fn any_pax_records_are_read_or_refused(
        key in "(path|size|uid|mtime|SCHILY.xattr.user.a|LIBARCHIVE.xattr.a|[a-z]{0,8})",
        value in proptest::collection::vec(any::<u8>(), 0..64),
        length in 0usize..100,
    ) {
        let mut record = format!("{length} {key}=").into_bytes();
        record.extend(value);
        record.push(b'\n');
        let bytes = [member(b"x", b'x', &record), member(b"a", b'0', b"")].concat();
        let _ = entries(&bytes);
    }
}
