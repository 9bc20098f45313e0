//! Cutting a stream into log entries.

/// The most bytes of one entry; longer lines are cut, as Docker does.
pub(super) const MAX_ENTRY: usize = 16 << 10;

/// What one stream has not finished yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
    /// Time of the first piece of a line that is being cut: all of its pieces carry it.
    cut_at: Option<String>,
}

impl Lines {
    /// Cuts `bytes` and what was held before. Calls `entry` for every line, without its newline
    /// and with `true`, and for every piece of a longer line, with `false`, and the time.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        now: &str,
        mut entry: impl FnMut(&[u8], bool, &str),
    ) {
        while !bytes.is_empty() {
            let room = MAX_ENTRY - self.held.len();
            let window = &bytes[..bytes.len().min(room)];
            match memchr::memchr(b'\n', window) {
                Some(end) => {
                    let time = self.cut_at.take();
                    let line = self.joined(&window[..end]);
                    entry(line, true, time.as_deref().unwrap_or(now));
                    self.held.clear();
                    bytes = &bytes[end + 1..];
                }
                None if window.len() == room => {
                    bytes = &bytes[room..];
                    self.held.extend_from_slice(window);
                    let rest = self.held.split_off(character_boundary(&self.held));
                    let time = self.cut_at.get_or_insert_with(|| now.to_owned());
                    entry(&self.held, false, time);
                    self.held = rest;
                }
                None => {
                    self.held.extend_from_slice(window);
                    return;
                }
            }
        }
    }

    /// The stream has ended: what is held is an entry without a newline.
    pub(super) fn finish(&mut self, now: &str, mut entry: impl FnMut(&[u8], bool, &str)) {
        let held = std::mem::take(&mut self.held);
        let time = self.cut_at.take();
        if !held.is_empty() {
            entry(&held, false, time.as_deref().unwrap_or(now));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn joined<'a>(&'a mut self, end: &'a [u8]) -> &'a [u8] {
        if self.held.is_empty() {
            return end;
        }
        self.held.extend_from_slice(end);
        &self.held
    }
}

/// Where to cut so as not to split a UTF-8 character: the length, but for an unfinished one.
fn character_boundary(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    match std::str::from_utf8(&bytes[tail + continuation_bytes(&bytes[tail..])..]) {
        Err(error) if error.error_len().is_none() => {
            tail + continuation_bytes(&bytes[tail..]) + error.valid_up_to()
        }
        _ => bytes.len(),
    }
}

fn continuation_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte & 0xc0 == 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(usize, bool, String)> {
        let mut lines = Lines::default();
        let mut entries = Vec::new();
        let mut all = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            lines.push(piece, &index.to_string(), |text, newline, time| {
                all.extend_from_slice(text);
                all.extend(newline.then_some(b'\n'));
                entries.push((text.len(), newline, time.to_owned()));
            });
        }
        lines.finish("end", |text, newline, time| {
            all.extend_from_slice(text);
            entries.push((text.len(), newline, time.to_owned()));
        });
        assert_eq!(all, pieces.concat(), "nothing is lost or added");
        entries
    }

    fn entry(length: usize, newline: bool, time: &str) -> (usize, bool, String) {
        (length, newline, time.to_owned())
    }

    #[test]
    fn lines_are_joined_across_reads() {
        assert_eq!(cut(&[b"one\ntwo\n"]), [entry(3, true, "0"), entry(3, true, "0")]);
        assert_eq!(cut(&[b"o", b"ne\n\n"]), [entry(3, true, "1"), entry(0, true, "1")]);
        assert_eq!(cut(&[b"prompt"]), [entry(6, false, "end")]);
        assert_eq!(cut(&[]), []);
    }

    #[test]
    fn long_lines_are_cut_with_one_time() {
        let long = vec![b'x'; MAX_ENTRY * 2 + 5];
        let expected = [
            entry(MAX_ENTRY, false, "0"),
            entry(MAX_ENTRY, false, "0"),
            entry(6, true, "0"),
            entry(1, true, "1"),
        ];
        assert_eq!(cut(&[&long, b"y\nz\n"]), expected);
        let exact = vec![b'x'; MAX_ENTRY];
        assert_eq!(cut(&[&exact, b"\n"]), [entry(MAX_ENTRY, false, "0"), entry(0, true, "0")]);
        let almost = vec![b'x'; MAX_ENTRY - 1];
        assert_eq!(cut(&[&almost, b"\n"]), [entry(MAX_ENTRY - 1, true, "1")]);
    }

    #[test]
    fn characters_are_not_cut() {
        for shift in 0..4 {
            let mut line = vec![b'x'; shift];
            line.extend("🐚".repeat(MAX_ENTRY / 4).bytes());
            line.push(b'\n');
            let mut lines = Lines::default();
            lines.push(&line, "", |text, _, _| {
                assert!(std::str::from_utf8(text).is_ok());
            });
        }
        let garbage = vec![0x80; MAX_ENTRY * 3];
        cut(&[&garbage]);
        let lead = vec![0xf0; MAX_ENTRY * 3];
        cut(&[&lead]);
    }
}
