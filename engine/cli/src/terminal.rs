//! The terminal this command runs on.

use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// How the terminal was, while it is raw; here so that a panic can put it back too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A terminal in raw mode; dropping it, and a panic, give the terminal back as it was.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Puts the terminal on stdin into raw mode; `None` where stdin is none.
    pub(crate) fn enter() -> Option<Self> {
        change(Termios::make_raw).then_some(Self(()))
    }
}

/// A terminal that does not show what is typed; dropping it, and a panic, give it back as it was.
#[derive(Debug)]
pub(crate) struct NoEcho(());

impl NoEcho {
    /// Stops the terminal on stdin from showing what is typed; `None` where stdin is none.
    pub(crate) fn enter() -> Option<Self> {
        change(|modes| modes.local_modes.remove(LocalModes::ECHO)).then_some(Self(()))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        restore();
    }
}

/// Changes the terminal on stdin, until [`restore`]; whether there is one.
fn change(how: impl FnOnce(&mut Termios)) -> bool {
    let stdin = rustix::stdio::stdin();
    let Ok(before) = tcgetattr(stdin) else { return false };
    let mut after = before.clone();
    how(&mut after);
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    restore_on_panic();
    tcsetattr(stdin, OptionalActions::Now, &after).is_ok()
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &before);
    }
}

/// A panic of a release build runs no destructor.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            hook(info);
        }));
    });
}

/// Whether stdin is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    rustix::termios::isatty(std::io::stdin())
}

/// Columns and rows of the terminal on stdout.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Keys that leave a container without ending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// Parses Docker's notation: `ctrl-p,ctrl-q`, `a`, `ctrl-@`.
    ///
    /// # Errors
    /// Names the key that is none.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for word in text.split(',') {
            let key = match (word.strip_prefix("ctrl-"), word.as_bytes()) {
                (Some(letter), _) => match letter.as_bytes() {
                    [byte @ b'a'..=b'z'] => byte - b'a' + 1,
                    [b'@'] => 0,
                    [byte @ (b'[' | b'\\' | b']' | b'^' | b'_')] => byte - b'[' + 27,
                    _ => anyhow::bail!("invalid detach keys ({text}): {word:?} is no key"),
                },
                (None, [byte]) => *byte,
                _ => anyhow::bail!("invalid detach keys ({text}): {word:?} is no key"),
            };
            keys.push(key);
        }
        Ok(Self { keys, matched: 0 })
    }

    /// Takes typed bytes in; what is to be passed on goes to `out`. True once the keys were typed.
    pub(crate) fn take(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
                continue;
            }
            // Keys held back were not the sequence after all.
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                out.push(byte);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::DetachKeys;

    #[test]
    fn notation() {
        assert_eq!(DetachKeys::parse("ctrl-p,ctrl-q").unwrap().keys, [16, 17]);
        assert_eq!(DetachKeys::parse("a,ctrl-@,ctrl-\\").unwrap().keys, [b'a', 0, 28]);
        for bad in ["", "ctrl-", "ctrl-A", "ab", "a,,b"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_the_sequence_is_passed_on() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap();
        let mut out = Vec::new();
        assert!(!keys.take(b"a\x10b", &mut out));
        assert!(!keys.take(b"\x10", &mut out));
        assert_eq!(out, b"a\x10b");
        assert!(keys.take(b"\x11rest", &mut out));
        assert_eq!(out, b"a\x10b");
    }
}
