//! One log entry as Docker's json-file driver writes it:
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}`.

use std::io::Write;

/// Appends an entry with `text`, which need not be UTF-8: other bytes become U+FFFD, each.
pub(super) fn encode(out: &mut Vec<u8>, text: &[u8], newline: bool, stream: &str, time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in text.utf8_chunks() {
        escape(out, chunk.valid());
        chunk.invalid().iter().for_each(|_| out.extend_from_slice(b"\\ufffd"));
    }
    out.extend_from_slice(if newline { b"\\n\"" } else { b"\"" });
    let end = writeln!(out, ",\"stream\":\"{stream}\",\"time\":\"{time}\"}}");
    end.expect("a vector takes every write");
}

/// Escapes what JSON wants escaped, and as Docker does what HTML and JavaScript would trip over.
fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let separator = byte == 0xe2 && matches!(bytes[at..], [_, 0x80, 0xa8 | 0xa9, ..]);
        let needed = byte < b' ' || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&') || separator;
        if !needed {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0xe2 => {
                out.extend_from_slice(if bytes[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                plain = at + 3;
            }
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], expected: &str) {
        let mut out = Vec::new();
        encode(&mut out, text, true, "stdout", "T");
        let expected =
            format!("{{\"log\":\"{expected}\\n\",\"stream\":\"stdout\",\"time\":\"T\"}}\n");
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let text = String::from_utf8_lossy(text).into_owned() + "\n";
        if !text.contains('\u{fffd}') {
            assert_eq!(parsed["log"], text);
        }
    }

    #[test]
    fn texts_are_escaped_as_docker_does() {
        check(b"plain", "plain");
        check(b"", "");
        check(b"a\"b\\c", "a\\\"b\\\\c");
        check(b"\x1b[0m\t\r", "\\u001b[0m\\u0009\\r");
        check(b"<a href=x>&</a>", "\\u003ca href=x\\u003e\\u0026\\u003c/a\\u003e");
        check("grüße 語 🐚".as_bytes(), "grüße 語 🐚");
        check("a\u{2028}b\u{2029}…".as_bytes(), "a\\u2028b\\u2029…");
        check(b"a\xff\xfeb\xe2\x82", "a\\ufffd\\ufffdb\\ufffd\\ufffd");
        check(b"\x7f", "\x7f");
    }
}
