//! One log entry as Docker's json-file driver writes it:
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}`.

/// What every entry of one stream and time ends with, so that it is made once for all of them.
#[derive(Debug)]
pub(super) struct Ending(String);

impl Ending {
    pub(super) fn new(stream: &str, time: &str) -> Self {
        Self(format!("\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n"))
    }
}

/// Appends an entry with `text`, which need not be UTF-8: other bytes become U+FFFD, each.
pub(super) fn encode(out: &mut Vec<u8>, text: &[u8], newline: bool, ending: &Ending) {
    out.extend_from_slice(b"{\"log\":\"");
    // Nearly always; chunk by chunk takes several times as long.
    if std::str::from_utf8(text).is_ok() {
        escape(out, text);
    } else {
        for chunk in text.utf8_chunks() {
            escape(out, chunk.valid().as_bytes());
            chunk.invalid().iter().for_each(|_| out.extend_from_slice(b"\\ufffd"));
        }
    }
    if newline {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(ending.0.as_bytes());
}

/// Bytes that are not, or perhaps not, written as they are.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    let mut others: &[u8] = b"\"\\<>&\xe2";
    while let [byte, rest @ ..] = others {
        special[*byte as usize] = true;
        others = rest;
    }
    special
};

/// Escapes what JSON wants escaped, and as Docker does what HTML and JavaScript would trip over.
/// `text` is UTF-8.
fn escape(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = text.iter().position(|&byte| SPECIAL[usize::from(byte)]) {
        out.extend_from_slice(&text[..at]);
        let length = special(out, &text[at..]);
        text = &text[at + length..];
    }
    out.extend_from_slice(text);
}

/// Appends what stands for the first character of `text`; how many bytes of it that was.
fn special(out: &mut Vec<u8>, text: &[u8]) -> usize {
    match *text {
        [byte @ (b'"' | b'\\'), ..] => out.extend_from_slice(&[b'\\', byte]),
        [b'\n', ..] => out.extend_from_slice(b"\\n"),
        [b'\r', ..] => out.extend_from_slice(b"\\r"),
        [0xe2, 0x80, last @ (0xa8 | 0xa9), ..] => {
            out.extend_from_slice(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            return 3;
        }
        [0xe2, ..] => out.push(0xe2),
        [byte, ..] => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        [] => {}
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], expected: &str) {
        let mut out = Vec::new();
        encode(&mut out, text, true, &Ending::new("stdout", "T"));
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
