//! Changes to inputs.

/// Numbers that are the same for the same seed (xorshift64*, Vigna 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Seeds that differ by one give numbers that have nothing to do with each other.
        let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self(mixed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }
}

/// Bytes that parsers have a meaning for.
const SPECIAL: &[u8] = b"\0\n\r\t \"'\\/:;,=@{}[]<>&%$#-+.0179aAzZ\x7f\x80\xc0\xff";

/// The longest input, in bytes.
const MAX_INPUT: usize = 64 << 10;

/// A changed copy of `input`; `other` is another input of the same kind.
pub(crate) fn mutated(input: &[u8], other: &[u8], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        change(&mut bytes, other, words, random);
    }
    bytes.truncate(MAX_INPUT);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let span = at..(at + random.below(32)).min(bytes.len());
    match random.below(10) {
        0 => drop(bytes.drain(span)),
        1 => bytes.truncate(at),
        2 => {
            let copy = bytes[span].to_vec();
            bytes.splice(at..at, copy);
        }
        3 => {
            // The begin of one and the end of the other.
            let from = random.below(other.len() + 1);
            bytes.splice(at.., other[from..].iter().copied());
        }
        4 | 5 if !words.is_empty() => {
            let word = words[random.below(words.len())];
            let replaced = at..(at + word.len() * random.below(2)).min(bytes.len());
            bytes.splice(replaced, word.iter().copied());
        }
        6 => {
            let copies = 1 << random.below(12);
            let piece = bytes[span].to_vec();
            let repeated = piece.iter().copied().cycle().take(piece.len() * copies);
            bytes.splice(at..at, repeated);
        }
        7 => {
            let special = SPECIAL[random.below(SPECIAL.len())];
            bytes.insert(at, special);
        }
        _ => match bytes.get_mut(at) {
            Some(byte) if random.below(2) == 0 => *byte ^= 1 << random.below(8),
            Some(byte) => *byte = random.byte(),
            None => bytes.push(random.byte()),
        },
    }
    bytes.truncate(2 * MAX_INPUT);
}
