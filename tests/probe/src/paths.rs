//! What can be done with a path, in words.

use std::io::Read;
use std::path::Path;

/// `missing`, `denied: ...`, `empty`, `bytes`, `entries N` for a directory.
pub(crate) fn readable(path: &str) -> String {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return "missing".to_owned(),
        Err(error) => return format!("denied: {error}"),
    };
    if kind.is_dir() {
        return match std::fs::read_dir(path) {
            Ok(entries) => format!("entries {}", entries.count()),
            Err(error) => format!("denied: {error}"),
        };
    }
    // Some of these files never end: one byte is enough.
    let mut byte = [0];
    match std::fs::File::open(path).and_then(|mut file| file.read(&mut byte)) {
        Ok(0) => "empty".to_owned(),
        Ok(_) => "bytes".to_owned(),
        Err(error) => format!("denied: {error}"),
    }
}

/// `yes`, or why it cannot be opened for writing (a file) or for a new entry (a directory).
/// Nothing is written.
pub(crate) fn writable(path: &str) -> String {
    let result = if Path::new(path).is_dir() {
        let entry = Path::new(path).join(".probe");
        std::fs::File::create_new(&entry).and_then(|_| std::fs::remove_file(&entry))
    } else {
        std::fs::OpenOptions::new().write(true).open(path).map(drop)
    };
    match result {
        Ok(()) => "yes".to_owned(),
        Err(error) => error.to_string(),
    }
}
