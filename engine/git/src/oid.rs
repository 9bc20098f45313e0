//! Names of objects.

use std::fmt;
use std::str::FromStr;

/// Bytes of a SHA-1 name.
pub(crate) const LENGTH: usize = 20;

/// The name of an object: the SHA-1 of its header and content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid([u8; LENGTH]);

/// Text that is no name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a commit: it has to be 40 lower-case hex digits")]
pub struct ParseOidError(String);

impl Oid {
    pub(crate) fn new(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes of a digest context that is finished.
    pub(crate) fn of(context: ring::digest::Context) -> Self {
        let digest = context.finish();
        let bytes = digest.as_ref().try_into().expect("SHA-1 has 20 bytes");
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// SHA-1 is what git names objects by; nothing here trusts it against collisions made on purpose.
pub(crate) fn hasher() -> ring::digest::Context {
    ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY)
}

impl FromStr for Oid {
    type Err = ParseOidError;

    fn from_str(text: &str) -> Result<Self, ParseOidError> {
        let wrong = || ParseOidError(text.to_owned());
        let digits: &[u8; 2 * LENGTH] = text.as_bytes().try_into().map_err(|_| wrong())?;
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte =
                (nibble(pair[0]).ok_or_else(wrong)? << 4) | nibble(pair[1]).ok_or_else(wrong)?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Oid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_lower_case_names() {
        let name = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(name.parse::<Oid>().map(|oid| oid.to_string()), Ok(name.to_owned()));
        for wrong in ["", "0123", &name.to_uppercase(), &format!("{name}0"), &"é".repeat(20)] {
            assert!(wrong.parse::<Oid>().is_err(), "{wrong}");
        }
    }
}
