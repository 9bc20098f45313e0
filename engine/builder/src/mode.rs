//! `--chmod`: octal modes, and symbolic ones as chmod(1) has them.

use std::fmt;
use std::str::FromStr;

/// What becomes of a mode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Modes {
    text: String,
    change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Change {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `u+rwX`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Clause {
    /// Which bits it may touch.
    who: u32,
    operator: Operator,
    /// Bits to add, take or set, for all of user, group and others.
    bits: u32,
    /// `X`: execute, for directories and what somebody may execute.
    execute_if: bool,
    /// `u`, `g` or `o` on the right: how far their bits are shifted.
    copied: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operator {
    Add,
    Remove,
    Set,
}

/// Text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid chmod parameter: '{0}': it is octal, 0 to 07777, or symbolic as in u=rwX,go=rX")]
pub struct ParseModesError(String);

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

impl Modes {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The permission bits (07777) of something that had `mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let mode = mode & 0o7777;
        match &self.change {
            Change::Octal(octal) => *octal,
            Change::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }
}

impl Clause {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let mut bits = self.bits;
        if self.execute_if && (is_directory || mode & 0o111 != 0) {
            bits |= 0o111;
        }
        if let Some(shift) = self.copied {
            let from = (mode >> shift) & 0o7;
            bits |= from | from << 3 | from << 6;
        }
        let bits = bits & self.who;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            // A directory keeps what is not asked about: set-id bits of others.
            Operator::Set => mode & !self.who | bits,
        }
    }
}

impl FromStr for Modes {
    type Err = ParseModesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseModesError(text.chars().take(100).collect());
        let change = if text.starts_with(|c: char| c.is_ascii_digit()) {
            let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7')) && text.len() <= 12;
            let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
            Change::Octal(mode.filter(|mode| *mode <= 0o7777).ok_or_else(fail)?)
        } else {
            let mut clauses = Vec::new();
            for part in text.split(',') {
                clauses.extend(clauses_of(part).ok_or_else(fail)?);
            }
            Change::Symbolic(clauses)
        };
        Ok(Self { text: text.to_owned(), change })
    }
}

impl fmt::Display for Modes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The clauses of `ug+r-w`: one for each operator.
fn clauses_of(part: &str) -> Option<Vec<Clause>> {
    let operators = part.find(['+', '-', '='])?;
    let (who, mut rest) = part.split_at(operators);
    let mut mask = 0;
    for letter in who.chars() {
        mask |= match letter {
            'u' => 0o700 | SET_UID,
            'g' => 0o070 | SET_GID,
            'o' => 0o007 | STICKY,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if who.is_empty() {
        mask = 0o7777;
    }
    let mut clauses = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
        clauses.push(clause(mask, operator, &rest[1..end])?);
        rest = &rest[end..];
    }
    Some(clauses)
}

fn clause(who: u32, operator: Operator, letters: &str) -> Option<Clause> {
    let mut clause = Clause { who, operator, bits: 0, execute_if: false, copied: None };
    if let "u" | "g" | "o" = letters {
        clause.copied = Some(match letters {
            "u" => 6,
            "g" => 3,
            _ => 0,
        });
        // Copied permissions are never set-id bits.
        if operator == Operator::Set {
            clause.who &= 0o777;
        }
        return Some(clause);
    }
    for letter in letters.chars() {
        match letter {
            'r' => clause.bits |= 0o444,
            'w' => clause.bits |= 0o222,
            'x' => clause.bits |= 0o111,
            'X' => clause.execute_if = true,
            's' => clause.bits |= SET_UID | SET_GID,
            't' => clause.bits |= STICKY,
            _ => return None,
        }
    }
    // The sticky bit is nobody's in particular: `+t` and `u+t` both set it.
    if clause.bits & STICKY != 0 {
        clause.who |= STICKY;
    }
    Some(clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_chmod_does_it() {
        for (text, mode, directory, expected) in [
            ("755", 0o644, false, 0o755),
            ("0", 0o777, false, 0),
            ("07777", 0, false, 0o7777),
            ("4755", 0o1777, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwx", 0o044, false, 0o744),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("-w", 0o666, false, 0o444),
            ("go-rwx", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("o=g,g-w", 0o675, false, 0o657),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("u-x+r", 0o100, false, 0o400),
            ("a=", 0o777, false, 0),
            ("u=", 0o4777, false, 0o077),
            ("=r", 0o777, false, 0o444),
        ] {
            let modes: Modes = text.parse().unwrap();
            assert_eq!(modes.apply(mode, directory), expected, "{text} on {mode:o}");
            assert_eq!(modes.to_string(), text);
        }
        for bad in
            ["", "888", "10000", "u", "u=q", "z+r", "rwx", "u=r,", ",", "0x7", "755 ", "+rwxu"]
        {
            assert!(bad.parse::<Modes>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_stays_in_range(text in "[ugoarwxXst0-9,+=-]{0,12}", mode: u32) {
            if let Ok(modes) = text.parse::<Modes>() {
                proptest::prop_assert!(modes.apply(mode, true) <= 0o7777);
            }
        }
    }
}
