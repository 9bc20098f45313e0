//! Questions and answers on the wire. Spec: RFC 1035, section 4; RFC 3596.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most records of one answer that are read.
const MAX_RECORDS: usize = 256;

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    V4,
    V6,
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// More than fits into a datagram.
    Truncated,
    /// The server does not want to, or cannot.
    Failed,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

/// A question; `None` if `name` cannot be asked for.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    message.extend(id.to_be_bytes());
    // A standard query, recursion desired, one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.number().to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    (message.len() <= HEADER + 255 + 4).then_some(message)
}

/// Reads an answer to `question`; `None` if it is none to it.
pub(super) fn answer(question: &[u8], message: &[u8]) -> Option<Answer> {
    let asked = &question[HEADER..];
    let flags = number(message, 2)?;
    let is_answer = message.get(..2)? == &question[..2]
        && flags & 0x8000 != 0
        && number(message, 4)? == 1
        && message.get(HEADER..HEADER + asked.len())?.eq_ignore_ascii_case(asked);
    if !is_answer {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    match flags & 0xf {
        0 => {}
        3 => return Some(Answer::NoName),
        _ => return Some(Answer::Failed),
    }
    let kind = number(question, question.len() - 4)?;
    let count = usize::from(number(message, 6)?).min(MAX_RECORDS);
    let mut addresses = Vec::new();
    let mut at = HEADER + asked.len();
    for _ in 0..count {
        at = after_name(message, at)?;
        let (record, class) = (number(message, at)?, number(message, at + 2)?);
        let length = usize::from(number(message, at + 8)?);
        let data = message.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        // Names in between (CNAME) are the server's to follow.
        if record == kind && class == CLASS_IN {
            addresses.push(address(data)?);
        }
    }
    Some(Answer::Addresses(addresses))
}

fn address(data: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(data) {
        return Some(IpAddr::V4(Ipv4Addr::from(bytes)));
    }
    <[u8; 16]>::try_from(data).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))
}

/// Where the name at `at` ends. A pointer ends it; nothing is followed.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with a CNAME and these addresses.
    fn reply(question: &[u8], addresses: &[[u8; 4]], flags: u16) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        let count = u16::try_from(addresses.len() + 1).unwrap();
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 12]);
        for address in addresses {
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
            message.extend(address);
        }
        message
    }

    #[test]
    fn round() {
        let asked = question(0x1234, "registry.example", Kind::V4).unwrap();
        let message = reply(&asked, &[[192, 0, 2, 1], [192, 0, 2, 2]], 0x8180);
        let Some(Answer::Addresses(addresses)) = answer(&asked, &message) else { panic!() };
        assert_eq!(addresses.len(), 2);
        assert_eq!(answer(&asked, &reply(&asked, &[], 0x8183)), Some(Answer::NoName));
        assert_eq!(answer(&asked, &reply(&asked, &[], 0x8182)), Some(Answer::Failed));
        assert_eq!(answer(&asked, &reply(&asked, &[], 0x8380)), Some(Answer::Truncated));
    }

    #[test]
    fn none_to_the_question() {
        let asked = question(1, "registry.example", Kind::V4).unwrap();
        let other_id = question(2, "registry.example", Kind::V4).unwrap();
        let other_name = question(1, "registry.evil.xx", Kind::V4).unwrap();
        let other_kind = question(1, "registry.example", Kind::V6).unwrap();
        for other in [other_id, other_name, other_kind] {
            assert_eq!(answer(&asked, &reply(&other, &[[1, 2, 3, 4]], 0x8180)), None);
        }
        assert_eq!(answer(&asked, &reply(&asked, &[], 0x0100)), None, "a question");
        assert_eq!(answer(&asked, &[]), None);
    }

    /// Every cut and every changed byte: no panic, no endless loop.
    #[test]
    fn hostile() {
        let asked = question(1, "registry.example", Kind::V4).unwrap();
        let message = reply(&asked, &[[192, 0, 2, 1]], 0x8180);
        for end in 0..message.len() {
            assert!(!matches!(answer(&asked, &message[..end]), Some(Answer::Addresses(_))));
        }
        for at in 0..message.len() {
            for value in [0, 1, 63, 64, 127, 128, 192, 255] {
                let mut changed = message.clone();
                changed[at] = value;
                let _ = answer(&asked, &changed);
            }
        }
    }

    #[test]
    fn names_that_cannot_be_asked_for() {
        for name in ["", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
            assert_eq!(question(1, name, Kind::V4), None, "{name}");
        }
    }
}
