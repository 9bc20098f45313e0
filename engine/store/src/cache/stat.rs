//! Digests of the files of a build context, so that an unchanged one need not be read again.
//!
//! A digest is trusted while the file's device, inode, size, modification and change time are what
//! they were. A file that had just changed when it was read is not remembered: it could change
//! once more within the same tick of the clock.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use hull_oci::Digest;
use rustix::fs::Stat;

use super::STATS;
use crate::Store;
use crate::error::FileError;
use crate::root::Durability;

const MAGIC: &[u8; 8] = b"hullst1\n";

/// Older than this, a change cannot be followed by another with the same time.
const SETTLED: Duration = Duration::from_millis(50);

/// The largest file that is read: two million files.
const MAX_BYTES: usize = 512 << 20;

/// What identifies a state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileKey([u64; 7]);

impl FileKey {
    /// Of a file as it is.
    pub fn of(stat: &Stat) -> Self {
        let number = i64::cast_unsigned;
        Self([
            stat.st_dev,
            stat.st_ino,
            number(stat.st_size),
            number(stat.st_mtime),
            stat.st_mtime_nsec,
            number(stat.st_ctime),
            stat.st_ctime_nsec,
        ])
    }

    /// Whether a change later than this state would show in it.
    fn is_settled(&self, now: SystemTime) -> bool {
        let at = |seconds: u64, nanoseconds: u64| {
            SystemTime::UNIX_EPOCH
                + Duration::from_secs(seconds)
                + Duration::from_nanos(nanoseconds)
        };
        let [.., changed, nanoseconds] = self.0;
        now.duration_since(at(changed & (u64::MAX >> 16), nanoseconds))
            .is_ok_and(|age| age > SETTLED)
    }
}

/// Digests by path, each of one state of a file.
type Known = HashMap<Vec<u8>, (FileKey, [u8; 32])>;

/// The digests of one context.
#[derive(Debug, Default)]
pub struct StatCache {
    name: String,
    known: Known,
    changed: bool,
}

impl StatCache {
    /// The digest of the file at `path`, if it is known in this state.
    pub fn get(&self, path: &[u8], key: &FileKey) -> Option<[u8; 32]> {
        self.known.get(path).filter(|(known, _)| known == key).map(|(_, digest)| *digest)
    }

    /// Remembers a digest of a file that was in this state before and after it was read.
    pub fn put(&mut self, path: &[u8], key: FileKey, digest: [u8; 32]) {
        if key.is_settled(SystemTime::now()) {
            self.known.insert(path.to_vec(), (key, digest));
            self.changed = true;
        }
    }

    fn parse(bytes: &[u8]) -> Option<Known> {
        let body = bytes.strip_prefix(MAGIC)?;
        let (mut rest, sum) = body.split_at_checked(body.len().checked_sub(32)?)?;
        if digest(rest) != *sum {
            return None;
        }
        let mut known = HashMap::with_capacity(rest.len() / 128);
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (path, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            let mut key = [0; 7];
            let mut at = after;
            for number in &mut key {
                let (bytes, after) = at.split_first_chunk::<8>()?;
                *number = u64::from_le_bytes(*bytes);
                at = after;
            }
            let (digest, after) = at.split_first_chunk::<32>()?;
            known.insert(path.to_vec(), (FileKey(key), *digest));
            rest = after;
        }
        Some(known)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.known.len() * 140 + 64);
        bytes.extend_from_slice(MAGIC);
        for (path, (key, digest)) in &self.known {
            let Ok(length) = u16::try_from(path.len()) else { continue };
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(path);
            key.0.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            bytes.extend_from_slice(digest);
        }
        let sum = digest(&bytes[MAGIC.len()..]);
        bytes.extend_from_slice(&sum);
        bytes
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    sum
}

impl Store {
    /// The digests that are known of the context called `name`.
    ///
    /// # Errors
    /// The system's; what cannot be read is taken for unknown.
    pub fn stat_cache(&self, name: &str) -> Result<StatCache, FileError> {
        let path = stat_path(name);
        let known = match self.root.read(&path, MAX_BYTES) {
            Ok(Some(bytes)) => {
                self.touch(&path);
                StatCache::parse(&bytes).unwrap_or_default()
            }
            _ => HashMap::new(),
        };
        Ok(StatCache { name: name.to_owned(), known, changed: false })
    }

    /// Keeps what was learnt, if anything was.
    ///
    /// # Errors
    /// The system's.
    pub fn keep_stat_cache(&self, cache: &StatCache) -> Result<(), FileError> {
        if !cache.changed {
            return Ok(());
        }
        self.root.replace(&stat_path(&cache.name), &cache.to_bytes(), Durability::Volatile)
    }
}

fn stat_path(name: &str) -> String {
    format!("{STATS}/{}", Digest::sha256(name.as_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_damage_is_noticed() {
        let old = FileKey([1, 2, 3, 4, 5, 6, 7]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let new = FileKey([1, 2, 3, now, 0, now, 999_999_999]);
        let mut cache = StatCache::default();
        cache.put(b"a/b", old, [7; 32]);
        cache.put(b"just/now", new, [8; 32]);
        let bytes = cache.to_bytes();
        let known = StatCache::parse(&bytes).unwrap();
        let again = StatCache { known, ..StatCache::default() };
        assert_eq!(again.get(b"a/b", &old), Some([7; 32]));
        assert_eq!(again.get(b"a/b", &new), None);
        assert_eq!(again.get(b"just/now", &new), None);
        for at in [0, 9, bytes.len() - 1] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(StatCache::parse(&bad).is_none(), "{at}");
        }
        assert!(StatCache::parse(&bytes[..bytes.len() - 1]).is_none());
    }
}
