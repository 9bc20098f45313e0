//! Ranges of bytes: `Range` of a read and `Content-Range` of a chunk.

use hyper::HeaderMap;
use hyper::header::{CONTENT_RANGE, RANGE};

use super::refusal::Refusal;

/// What part of a blob is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// From the first up to before the second.
    Bytes(u64, u64),
    /// No byte of what is asked for is there.
    Nothing,
}

/// Reads `Range` for a blob of `size` bytes. Several ranges, and units other than bytes, are
/// answered with the whole. Spec: RFC 9110, section 14.
pub(super) fn part(headers: &HeaderMap, size: u64) -> Part {
    let Some(text) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Part::Whole;
    };
    let Some(spec) = text.trim().strip_prefix("bytes=") else { return Part::Whole };
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else {
        return Part::Whole;
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last && first < size => {
            Part::Bytes(first, last.saturating_add(1).min(size))
        }
        (Some(first), None) if last.trim().is_empty() && first < size => Part::Bytes(first, size),
        (None, Some(count)) if first.trim().is_empty() && count > 0 && size > 0 => {
            Part::Bytes(size - count.min(size), size)
        }
        (None, None) => Part::Whole,
        _ => Part::Nothing,
    }
}

/// Reads `Content-Range` of a chunk: `<first>-<last>`, as the distribution-spec has it, or as RFC
/// 9110 has it. Returns first and count.
pub(super) fn chunk(headers: &HeaderMap) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let wrong = || Refusal::out_of_order("Content-Range must be `<first>-<last>`, in bytes");
    let text = value.to_str().map_err(|_| wrong())?.trim();
    let text = text.strip_prefix("bytes ").unwrap_or(text);
    let text = text.split('/').next().unwrap_or_default();
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
    if last < first {
        return Err(wrong());
    }
    let count = (last - first).checked_add(1).ok_or_else(wrong)?;
    Ok(Some((first, count)))
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_five_thousand_bytes() {
        let check = |text: &str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            assert_eq!(part(&headers, 5000), expected, "{text}");
        };
        check("bytes=500-1499", Part::Bytes(500, 1500));
        check("bytes=500-", Part::Bytes(500, 5000));
        check("bytes=-500", Part::Bytes(4500, 5000));
        check("bytes=-9999", Part::Bytes(0, 5000));
        check("bytes=2000-9999", Part::Bytes(2000, 5000));
        check("bytes=500-0", Part::Nothing);
        check("bytes=5000-10000", Part::Nothing);
        check("bytes=-0", Part::Nothing);
        check("bytes=0-1,5-6", Part::Whole);
        check("lines=1-2", Part::Whole);
        check("bytes=a-b", Part::Whole);
        assert_eq!(part(&HeaderMap::new(), 0), Part::Whole);
    }

    #[test]
    fn chunks() {
        let check = |text: &str, expected: Option<(u64, u64)>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, text.parse().unwrap());
            assert_eq!(chunk(&headers).ok().flatten(), expected, "{text}");
        };
        check("0-1023", Some((0, 1024)));
        check("bytes 5-5/*", Some((5, 1)));
        check("5-4", None);
        check("x-4", None);
        check("0-18446744073709551615", None);
        assert_eq!(chunk(&HeaderMap::new()).unwrap(), None);
    }
}
