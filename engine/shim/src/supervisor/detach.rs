//! The keys that detach a client from a terminal.

/// Looks for the detach keys in what a client types.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of the keys were typed last. They are withheld until it is clear what follows.
    matched: usize,
}

impl DetachKeys {
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Appends to `out` what of `typed` is for the process. True when the keys are complete: then
    /// nothing after them was taken.
    pub(crate) fn filter(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for &key in typed {
            if key != self.keys[self.matched] {
                out.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if key != self.keys[self.matched] {
                out.push(key);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &[&[u8]], passed: &[u8], detached: bool) {
        let mut keys = DetachKeys::new(vec![0x10, 0x11]);
        let mut out = Vec::new();
        let found = typed.iter().any(|typed| keys.filter(typed, &mut out));
        assert_eq!((out.as_slice(), found), (passed, detached), "{typed:?}");
    }

    #[test]
    fn keys_are_found_across_reads_and_otherwise_passed_on() {
        check(&[b"ls\n"], b"ls\n", false);
        check(&[b"\x10\x11"], b"", true);
        check(&[b"a\x10", b"\x11b"], b"a", true);
        check(&[b"\x10", b"x"], b"\x10x", false);
        check(&[b"\x10\x10\x11"], b"\x10", true);
        check(&[b"\x11\x10"], b"\x11", false);
    }

    #[test]
    fn no_keys_never_detach() {
        let mut out = Vec::new();
        assert!(!DetachKeys::new(vec![]).filter(b"\x10\x11", &mut out));
        assert_eq!(out, b"\x10\x11");
    }
}
