//! Groups by name.

use std::io;

/// Where the host's groups are.
const GROUPS: &str = "/etc/group";

/// The number of a group, given by name or number; `None` if the host has no such name.
///
/// # Errors
/// If the host's list of groups cannot be read.
pub(super) fn find(name: &str) -> io::Result<Option<u32>> {
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    match std::fs::read_to_string(GROUPS) {
        Ok(text) => Ok(parse(&text, name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lines of `name:password:number:members` (group(5)).
fn parse(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        let text = "root:x:0:\nhull:x:998:a,b\nbroken:x\nhullx:x:7:\n";
        assert_eq!(parse(text, "hull"), Some(998));
        assert_eq!(parse(text, "broken"), None);
        assert_eq!(parse(text, "none"), None);
        assert_eq!(find("1234").unwrap(), Some(1234));
    }
}
