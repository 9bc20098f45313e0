//! Compressions that archives come in.

use std::fs::File;
use std::io::{Seek as _, Write as _};

use hull_store::layer::{Input, LayerError, inflate};

use super::{Target, Verdict, as_it_is, verdict};

/// Plain bytes that one input may become.
const MAX_BYTES: u64 = 1 << 20;

pub(super) const XZ: Target = Target {
    name: "xz",
    check: |bytes| match bytes.starts_with(b"\xfd7zXZ\0") {
        true => compressed(bytes),
        false => Verdict::Refused,
    },
    repair: as_it_is,
    words: &[
        b"\xfd7zXZ\0",
        b"\0\0\0\0",
        b"YZ",
        b"\x21\x01",
        b"\xe0\xff\xff\xff\xff",
        b"\x01",
        b"\x04",
    ],
};

pub(super) const BZIP2: Target = Target {
    name: "bzip2",
    check: |bytes| match bytes {
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..] => {
            compressed(bytes)
        }
        _ => Verdict::Refused,
    },
    repair: as_it_is,
    words: &[b"BZh9", b"1AY&SY", b"\x17rE8P\x90", b"\0\0\0\0", b"\xff\xff\xff"],
};

/// Inflates: what does not begin as its format would be taken for plain bytes, which tests nothing.
fn compressed(bytes: &[u8]) -> Verdict {
    let output = tempfile::tempfile().expect("a file");
    let inflated = plain(bytes, &output);
    if let Ok(bytes) = inflated {
        assert!(bytes <= MAX_BYTES, "more than is allowed");
        assert_eq!(output.metadata().expect("a file").len(), bytes);
    }
    verdict(inflated)
}

fn plain(bytes: &[u8], output: &File) -> Result<u64, LayerError> {
    let mut input = tempfile::tempfile().expect("a file");
    input.write_all(bytes).and_then(|()| input.rewind()).expect("a file");
    inflate(Input::Stream(input), output.try_clone().expect("a file"), MAX_BYTES)
}
