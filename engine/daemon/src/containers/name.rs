//! Names of containers.

use crate::error::ApiError;

/// Refuses what is no name of a container or volume: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
///
/// # Errors
/// Docker's words.
pub(crate) fn check(what: &str, name: &str) -> Result<(), ApiError> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest =
        name.len() > 1 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && name.len() <= 255 {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Invalid {what} name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// A name made up of `random` bytes: a quality and somebody who found something out.
#[must_use]
pub(crate) fn made_up(random: [u8; 2]) -> String {
    let pick = |list: &[&'static str], byte: u8| list[usize::from(byte) % list.len()];
    format!("{}_{}", pick(QUALITIES, random[0]), pick(PEOPLE, random[1]))
}

const QUALITIES: &[&str] = &[
    "able", "agile", "alert", "amber", "ample", "apt", "bold", "brave", "bright", "brisk", "calm",
    "candid", "careful", "clear", "clever", "cosmic", "crisp", "curious", "daring", "deft",
    "eager", "earnest", "fair", "fearless", "firm", "fleet", "fond", "frank", "gentle", "glad",
    "golden", "graceful", "grand", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind",
    "lively", "loyal", "lucid", "mellow", "merry", "mighty", "modest", "neat", "nimble", "noble",
    "patient", "placid", "polite", "proud", "quick", "quiet", "ready", "serene", "sharp", "silent",
    "steady", "sturdy", "sunny", "swift", "tidy", "upbeat", "vivid", "warm", "wise", "witty",
    "zealous",
];

const PEOPLE: &[&str] = &[
    "abel",
    "agnesi",
    "archimedes",
    "babbage",
    "banach",
    "bardeen",
    "bartik",
    "bell",
    "bohr",
    "boole",
    "bose",
    "brahe",
    "carson",
    "cauchy",
    "cerf",
    "chandrasekhar",
    "clarke",
    "curie",
    "dijkstra",
    "dirac",
    "easley",
    "einstein",
    "elion",
    "engelbart",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goodall",
    "hamilton",
    "haslett",
    "hawking",
    "hertz",
    "hodgkin",
    "hopper",
    "hypatia",
    "jemison",
    "joliot",
    "joule",
    "kepler",
    "kilby",
    "knuth",
    "kovalevskaya",
    "lamarr",
    "leavitt",
    "liskov",
    "lovelace",
    "mayer",
    "mccarthy",
    "meitner",
    "mendel",
    "mirzakhani",
    "newton",
    "nobel",
    "noether",
    "pascal",
    "pasteur",
    "perlman",
    "planck",
    "ramanujan",
    "ride",
    "ritchie",
    "rubin",
    "shannon",
    "swirles",
    "tesla",
    "torvalds",
    "turing",
    "volta",
    "wiles",
    "wing",
    "wozniak",
    "wu",
    "yalow",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["web", "a1", "a_b.c-d", "0x"] {
            assert!(check("container", good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "_a", "a/b", "a b", "ä1", &"a".repeat(256)] {
            assert!(check("container", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_made_up_name_is_a_name() {
        for byte in 0..=255 {
            assert!(check("container", &made_up([byte, byte.wrapping_mul(3)])).is_ok());
        }
    }
}
