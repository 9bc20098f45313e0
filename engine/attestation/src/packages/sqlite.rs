//! The blobs of one table of an SQLite file, in its main file alone (what is only in a write-ahead
//! log is not seen; rpm empties it when it closes). Spec: sqlite.org, "Database File Format".

use std::collections::HashSet;

/// Length of the file's header, which is before the first page's.
const FILE_HEADER: usize = 100;

/// Depth of a tree: with the smallest pages it holds more than any file.
const MAX_DEPTH: usize = 20;

/// Bytes of one value.
const MAX_VALUE: u64 = 64 << 20;

/// Every value of type blob in the table's rows; nothing if the file is not one, or damaged.
pub(super) fn blobs(bytes: &[u8], table: &str) -> Vec<Vec<u8>> {
    let Some(file) = File::new(bytes) else { return Vec::new() };
    let mut root = None;
    file.rows(1, &mut |row| {
        // type, name, tbl_name, rootpage, sql
        if let [Value::Text(kind), Value::Text(name), _, Value::Integer(page), ..] = row
            && *kind == b"table"
            && *name == table.as_bytes()
        {
            root = usize::try_from(*page).ok();
        }
    });
    let mut found = Vec::new();
    if let Some(root) = root {
        file.rows(root, &mut |row| {
            found.extend(row.iter().filter_map(|value| match value {
                Value::Blob(bytes) => Some(bytes.to_vec()),
                _ => None,
            }));
        });
    }
    found
}

struct File<'a> {
    bytes: &'a [u8],
    page: usize,
    /// What of a page is used.
    usable: usize,
}

enum Value<'a> {
    Integer(i64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
    Other,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..FILE_HEADER)?;
        if !header.starts_with(b"SQLite format 3\0") {
            return None;
        }
        let page = match usize::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65536,
            page if page >= 512 && page.is_power_of_two() => page,
            _ => return None,
        };
        let usable = page.checked_sub(usize::from(header[20]))?;
        (usable >= 480).then_some(Self { bytes, page, usable })
    }

    /// The bytes of page `number`, from 1.
    fn page(&self, number: usize) -> Option<&'a [u8]> {
        let start = number.checked_sub(1)?.checked_mul(self.page)?;
        self.bytes.get(start..start.checked_add(self.page)?)
    }

    fn rows(&self, root: usize, visit: &mut dyn FnMut(&[Value<'_>])) {
        let mut seen = HashSet::new();
        self.walk(root, 0, &mut seen, visit);
    }

    fn walk(
        &self,
        number: usize,
        depth: usize,
        seen: &mut HashSet<usize>,
        visit: &mut dyn FnMut(&[Value<'_>]),
    ) {
        let Some(page) = self.page(number) else { return };
        if depth > MAX_DEPTH || !seen.insert(number) {
            return;
        }
        let start = if number == 1 { FILE_HEADER } else { 0 };
        let half =
            |at: usize| Some(usize::from(u16::from_be_bytes(*page.get(at..)?.first_chunk()?)));
        let word = |at: usize| Some(u32::from_be_bytes(*page.get(at..)?.first_chunk()?) as usize);
        let Some(count) = half(start + 3) else { return };
        let header = match page.get(start) {
            Some(5) => 12,
            Some(13) => 8,
            _ => return,
        };
        for cell in 0..count {
            let Some(cell) = half(start + header + 2 * cell) else { return };
            if header == 12 {
                let Some(child) = word(cell) else { return };
                self.walk(child, depth + 1, seen, visit);
            } else if let Some(payload) = page.get(cell..).and_then(|cell| self.payload(cell)) {
                visit(&values(&payload).unwrap_or_default());
            }
        }
        if header == 12
            && let Some(last) = word(start + 8)
        {
            self.walk(last, depth + 1, seen, visit);
        }
    }

    /// What a cell of a leaf holds, with what lies on overflow pages.
    fn payload(&self, cell: &[u8]) -> Option<Vec<u8>> {
        let (length, cell) = varint(cell)?;
        let (_row, cell) = varint(cell)?;
        if length > MAX_VALUE {
            return None;
        }
        let length = usize::try_from(length).ok()?;
        // Spec: "B-tree Pages", of the amount of payload that is stored on the page.
        let most = self.usable - 35;
        if length <= most {
            return Some(cell.get(..length)?.to_vec());
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (self.usable - 4);
        let here = if here <= most { here } else { least };
        let mut payload = cell.get(..here)?.to_vec();
        let mut next = u32::from_be_bytes(*cell.get(here..)?.first_chunk()?) as usize;
        while payload.len() < length {
            let page = self.page(next)?;
            next = u32::from_be_bytes(*page.first_chunk()?) as usize;
            let count = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(page.get(4..4 + count)?);
        }
        Some(payload)
    }
}

/// The values of a record. Spec: "Record Format".
fn values(record: &[u8]) -> Option<Vec<Value<'_>>> {
    let (header, _) = varint(record)?;
    let header = usize::try_from(header).ok()?;
    let mut types = varint(record.get(..header)?)?.1;
    let mut data = record.get(header..)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        let (kind, rest) = varint(types)?;
        types = rest;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            kind => usize::try_from((kind - 12) / 2).ok()?,
        };
        let (bytes, rest) = data.split_at_checked(length)?;
        data = rest;
        values.push(match kind {
            1..=6 => Value::Integer(integer(bytes)),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            0 | 7 => Value::Other,
            kind if kind % 2 == 0 => Value::Blob(bytes),
            _ => Value::Text(bytes),
        });
    }
    Some(values)
}

fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    bytes.iter().fold(start, |number, byte| (number << 8) | i64::from(*byte))
}

/// Seven bits a byte, the most significant first; the ninth byte has eight.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for place in 0..9 {
        let byte = *bytes.get(place)?;
        if place == 8 {
            return Some(((number << 8) | u64::from(byte), &bytes[9..]));
        }
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[place + 1..]));
        }
    }
    None
}
