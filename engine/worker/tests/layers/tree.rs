//! What a directory tree looks like from outside: one line for each name.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use hull_oci::Digest;

/// Path below the root (the root is `.`) to kind, mode, owner, time, links, content.
pub(crate) type Listing = BTreeMap<String, String>;

/// Everything below `root`, attributes included.
pub(crate) fn listing(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut first_names = HashMap::new();
    walk(root, root, &mut first_names, &mut listing);
    listing
}

fn walk(root: &Path, path: &Path, first_names: &mut HashMap<u64, String>, listing: &mut Listing) {
    let name = match path.strip_prefix(root).unwrap().as_os_str().as_bytes() {
        b"" => ".".to_owned(),
        name => name.escape_ascii().to_string(),
    };
    let metadata = path.symlink_metadata().unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_file() {
        format!("file {} {}", metadata.len(), Digest::sha256(&std::fs::read(path).unwrap()))
    } else if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_symlink() {
        format!("symlink {}", std::fs::read_link(path).unwrap().display())
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        let what = if kind.is_char_device() { "char" } else { "block" };
        let device = metadata.rdev();
        format!("{what} {}:{}", rustix::fs::major(device), rustix::fs::minor(device))
    };
    let mut line = format!(
        "{content} {:o} {}:{} {}.{:09} links {}",
        metadata.mode() & 0o7777,
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.nlink()
    );
    if metadata.nlink() > 1 && !kind.is_dir() {
        let first = first_names.entry(metadata.ino()).or_insert_with(|| name.clone());
        line.push_str(&format!(" with {first}"));
    }
    for (name, value) in xattrs(path) {
        line.push_str(&format!(" {name}={}", value.escape_ascii()));
    }
    listing.insert(name, line);
    if kind.is_dir() {
        let mut children: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        children.sort();
        for child in children {
            walk(root, &child, first_names, listing);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut buffer = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, buffer.as_mut_slice()).unwrap_or(0);
    let names = buffer[..length].to_vec();
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let length =
                rustix::fs::lgetxattr(path, OsStr::from_bytes(name), buffer.as_mut_slice())
                    .unwrap();
            (String::from_utf8_lossy(name).into_owned(), buffer[..length].to_vec())
        })
        .collect()
}
