//! One 512-byte header block.

use super::{BLOCK_LENGTH, Device};

/// A header block's fields, as they stand.
#[derive(Debug)]
pub(super) struct Header<'a>(&'a [u8; BLOCK_LENGTH]);

/// What the magic says about the fields after the link name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// No magic: nothing there.
    V7,
    /// `ustar\0`: user names, device numbers, a name prefix.
    Ustar,
    /// `ustar\0` and `tar\0` at the end: a shorter prefix.
    Star,
    /// `ustar  \0`: device numbers, no prefix.
    Gnu,
}

impl<'a> Header<'a> {
    /// Takes a block whose checksum is right.
    pub(super) fn new(block: &'a [u8; BLOCK_LENGTH]) -> Result<Self, &'static str> {
        let header = Self(block);
        let stated = header.number(148, 8)?;
        let mut unsigned = 0i64;
        let mut signed = 0i64;
        for (index, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        // Old tars on machines with signed characters summed those.
        if stated == unsigned || stated == signed {
            Ok(header)
        } else {
            Err("the header's checksum is wrong")
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let prefix = match self.format() {
            Format::Ustar => self.text(345, 155),
            Format::Star => self.text(345, 131),
            Format::V7 | Format::Gnu => &[],
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link_name(&self) -> &[u8] {
        self.text(157, 100)
    }

    pub(super) fn mode(&self) -> Result<i64, &'static str> {
        self.number(100, 8)
    }

    pub(super) fn uid(&self) -> Result<i64, &'static str> {
        self.number(108, 8)
    }

    pub(super) fn gid(&self) -> Result<i64, &'static str> {
        self.number(116, 8)
    }

    pub(super) fn size(&self) -> Result<i64, &'static str> {
        self.number(124, 12)
    }

    pub(super) fn mtime(&self) -> Result<i64, &'static str> {
        self.number(136, 12)
    }

    pub(super) fn device(&self) -> Result<Device, &'static str> {
        if self.format() == Format::V7 {
            return Err("a device without numbers");
        }
        let number = |at, most: u32| match u32::try_from(self.number(at, 8)?) {
            Ok(number) if number <= most => Ok(number),
            _ => Err("a device number is out of range"),
        };
        Ok(Device { major: number(329, 0xfff)?, minor: number(337, 0xf_ffff)? })
    }

    fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar  \0" => Format::Gnu,
            [b'u', b's', b't', b'a', b'r', 0, ..] if &self.0[508..] == b"tar\0" => Format::Star,
            [b'u', b's', b't', b'a', b'r', 0, ..] => Format::Ustar,
            _ => Format::V7,
        }
    }

    /// A field up to its first NUL.
    fn text(&self, at: usize, length: usize) -> &[u8] {
        let field = &self.0[at..at + length];
        match memchr::memchr(0, field) {
            Some(end) => &field[..end],
            None => field,
        }
    }

    fn number(&self, at: usize, length: usize) -> Result<i64, &'static str> {
        number(&self.0[at..at + length])
    }
}

/// A numeric field: octal digits with spaces before and spaces or NULs after, or, with the top
/// bit set, a big-endian two's complement number (GNU's base-256).
fn number(field: &[u8]) -> Result<i64, &'static str> {
    if let Some(first) = field.first().filter(|first| **first & 0x80 != 0) {
        // The first byte's second bit is the sign; the rest of it belongs to the number.
        let mut value = i64::from(first & 0x7f);
        if first & 0x40 != 0 {
            value -= 0x80;
        }
        for &byte in &field[1..] {
            value = value
                .checked_mul(256)
                .and_then(|value| value.checked_add(i64::from(byte)))
                .ok_or("a number in the header is out of range")?;
        }
        return Ok(value);
    }
    let blank = |byte: &&u8| matches!(**byte, b' ' | 0);
    let start = field.iter().take_while(blank).count();
    let digits = &field[start..];
    let end = digits.iter().position(|byte| blank(&byte)).unwrap_or(digits.len());
    if !digits[end..].iter().all(|byte| blank(&byte)) {
        return Err("a number in the header is followed by something else");
    }
    let mut value = 0i64;
    for &digit in &digits[..end] {
        if !(b'0'..=b'7').contains(&digit) {
            return Err("a number in the header is not octal");
        }
        // At most 12 digits of 3 bits each.
        value = value * 8 + i64::from(digit - b'0');
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"644 \0\0\0\0"), Ok(0o644));
        assert_eq!(number(b"777777777777"), Ok(0o777_777_777_777));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"        "), Ok(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Ok(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Ok(-1));
        assert_eq!(number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Ok(i64::MAX));
        assert!(number(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(number(b"\x81\0\0\0\0\0\0\0\0\0\0\0").is_err());
        assert!(number(b"0000648\0").is_err());
        assert!(number(b"-000644\0").is_err());
        assert!(number(b"644\0 64\0").is_err());
        assert!(number(b"0x1\0\0\0\0\0").is_err());
    }
}
