//! Which extended attributes a layer may bring along.

/// The most bytes of names and values on one file.
const MAX_TOTAL: usize = 64 << 10;

/// The longest name the kernel takes, with its prefix (`XATTR_NAME_MAX`).
const MAX_NAME: usize = 255;

/// Marks a directory that hides what lower layers have at its place. Set by us only.
pub(super) const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// An attribute whose name and value the kernel and EROFS take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Xattr {
    /// Full name.
    pub(super) name: Box<[u8]>,
    pub(super) value: Box<[u8]>,
}

/// Names and values as an archive or a file system has them.
pub(super) type Raw = Vec<(Vec<u8>, Vec<u8>)>;

/// What the attributes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    File,
    Directory,
}

/// Keeps the attributes a layer may set, sorted by name, and the highest id in their ACLs.
///
/// Dropped without a word: `trusted.*` (overlayfs's marks are ours to set), `user.overlay.*` (the
/// same for unprivileged mounts), labels and hashes of the host's security modules
/// (`security.selinux`, `security.ima`), and everything else that is not `user.*`,
/// `security.capability` or an ACL: archives carry them from the machine they were made on.
///
/// A file capability of the third revision, which names a user namespace by its root, becomes
/// one of the second: ids on disk are the container's own.
pub(super) fn admitted(
    xattrs: &[(Vec<u8>, Vec<u8>)],
    holder: Holder,
) -> Result<(Vec<Xattr>, u32), String> {
    let mut kept = Vec::new();
    let mut total = 0;
    let mut max_id = 0;
    for (name, value) in xattrs {
        let value = match (name.as_slice(), holder) {
            (b"security.capability", Holder::File) => capability(value)?,
            (b"system.posix_acl_access", _) | (b"system.posix_acl_default", Holder::Directory) => {
                max_id = max_id.max(acl_max_id(value)?);
                value.clone()
            }
            (name, _) if is_user(name) => value.clone(),
            _ => continue,
        };
        if name.contains(&0) || name.len() > MAX_NAME {
            return Err("the name of an extended attribute is too long or holds a NUL".to_owned());
        }
        total += name.len() + value.len();
        if total > MAX_TOTAL {
            return Err(format!("more than {MAX_TOTAL} bytes of extended attributes"));
        }
        kept.push(Xattr { name: name.clone().into(), value: value.into() });
    }
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((kept, max_id))
}

fn is_user(name: &[u8]) -> bool {
    name.len() > 5 && name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// `struct vfs_cap_data`: a little-endian magic and two pairs of capability masks, then, in
/// revision 3, the root id.
fn capability(value: &[u8]) -> Result<Vec<u8>, String> {
    const REVISION_2: u8 = 2;
    const REVISION_3: u8 = 3;
    match (value.len(), value.get(3)) {
        (20, Some(&REVISION_2)) => Ok(value.to_vec()),
        (24, Some(&REVISION_3)) => {
            let mut value = value[..20].to_vec();
            value[3] = REVISION_2;
            Ok(value)
        }
        _ => Err("security.capability is not a file capability of revision 2 or 3".to_owned()),
    }
}

/// Checks an ACL in the form of the xattr calls (version 2) and returns its highest id.
fn acl_max_id(value: &[u8]) -> Result<u32, String> {
    let bad = || "a POSIX ACL is malformed".to_owned();
    let entries = value.strip_prefix(&2u32.to_le_bytes()).ok_or_else(bad)?;
    let mut max_id = 0;
    let mut previous = (0, 0);
    let (entries, rest) = entries.as_chunks::<8>();
    if entries.is_empty() || !rest.is_empty() {
        return Err(bad());
    }
    for entry in entries {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let named = match tag {
            // The owner, the group, the mask, everyone else.
            0x01 | 0x04 | 0x10 | 0x20 => false,
            // A user, a group.
            0x02 | 0x08 => true,
            _ => return Err(bad()),
        };
        // The kernel wants them in this order, each once.
        let place = (tag, if named { id } else { 0 });
        if permissions > 7 || place <= previous && previous != (0, 0) {
            return Err(bad());
        }
        previous = place;
        if named {
            if id == u32::MAX {
                return Err(bad());
            }
            max_id = max_id.max(id);
        }
    }
    Ok(max_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(xattrs: &[(&str, &[u8])], holder: Holder) -> Result<Vec<String>, String> {
        let xattrs: Vec<_> =
            xattrs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
        let (kept, _) = admitted(&xattrs, holder)?;
        Ok(kept.iter().map(|xattr| String::from_utf8_lossy(&xattr.name).into_owned()).collect())
    }

    #[test]
    fn only_the_payloads_own_attributes_pass() {
        let kept = names(
            &[
                ("user.b", b"1"),
                ("trusted.overlay.opaque", b"y"),
                ("trusted.overlay.redirect", b"/etc"),
                ("user.overlay.opaque", b"y"),
                ("security.selinux", b"x"),
                ("system.other", b"x"),
                ("user.", b"x"),
                ("user.a", b""),
            ],
            Holder::Directory,
        );
        assert_eq!(kept.unwrap(), ["user.a", "user.b"]);
    }

    #[test]
    fn file_capabilities_end_up_in_revision_2() {
        let mut third = [0u8; 24];
        third[3] = 3;
        third[20] = 7;
        let (kept, _) =
            admitted(&[(b"security.capability".to_vec(), third.to_vec())], Holder::File).unwrap();
        assert_eq!(kept[0].value.len(), 20);
        assert_eq!(kept[0].value[3], 2);
        assert!(names(&[("security.capability", b"short")], Holder::File).is_err());
        assert!(names(&[("security.capability", b"short")], Holder::Directory).unwrap().is_empty());
    }

    #[test]
    fn acls_are_checked_and_their_ids_count() {
        let entry = |tag: u16, permissions: u16, id: u32| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let acl = |entries: &[Vec<u8>]| [&2u32.to_le_bytes()[..], &entries.concat()].concat();
        let none = u32::MAX;
        let good = acl(&[
            entry(1, 7, none),
            entry(2, 5, 70_000),
            entry(4, 5, none),
            entry(0x10, 7, none),
            entry(0x20, 4, none),
        ]);
        assert_eq!(acl_max_id(&good), Ok(70_000));
        assert!(acl_max_id(&acl(&[entry(4, 5, none), entry(1, 7, none)])).is_err());
        assert!(acl_max_id(&acl(&[entry(1, 8, none)])).is_err());
        assert!(acl_max_id(&acl(&[entry(3, 7, none)])).is_err());
        assert!(acl_max_id(&good[..good.len() - 1]).is_err());
        assert!(acl_max_id(b"").is_err());
    }
}
