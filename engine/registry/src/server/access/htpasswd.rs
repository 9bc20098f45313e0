//! Users and their passwords, from a file as `htpasswd -B` makes it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ring::hmac;

/// How long a password that was right needs no comparison.
const REMEMBER: Duration = Duration::from_secs(5 * 60);

/// How many are remembered.
const MAX_REMEMBERED: usize = 1024;

/// Longer passwords are cut by bcrypt: they are refused here instead.
const MAX_PASSWORD: usize = 72;

/// Compared with the password of a user that does not exist, so that it takes as long.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuFv7xvlQXqjwPvEyWQOhEGwZ3ZBAHZBG";

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is no user with a bcrypt hash.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The users. The file is read again when it was changed.
pub struct Htpasswd {
    path: PathBuf,
    loaded: Mutex<Loaded>,
    /// Key under which right passwords are remembered: their hashes are worth nothing elsewhere.
    key: hmac::Key,
    right: Mutex<HashMap<Vec<u8>, Instant>>,
}

struct Loaded {
    hashes: HashMap<String, String>,
    changed: Option<SystemTime>,
    looked: Instant,
}

impl std::fmt::Debug for Htpasswd {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Htpasswd").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Htpasswd {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or a line holds no bcrypt hash.
    pub fn open(path: &Path) -> Result<Self, HtpasswdError> {
        let hashes = read(path)?;
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .expect("the kernel has a random source");
        let loaded = Loaded { hashes, changed: changed(path), looked: Instant::now() };
        let path = path.to_owned();
        Ok(Self { path, loaded: Mutex::new(loaded), key, right: Mutex::default() })
    }

    /// Whether the password was found right lately: needs no comparison, which is slow.
    pub(in crate::server) fn remembers(&self, user: &str, password: &str) -> bool {
        let Some(hash) = self.hash(user) else { return false };
        let tag = self.tag(user, password, &hash);
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(&tag).is_some_and(|since| since.elapsed() < REMEMBER)
    }

    /// Whether the password is the user's. Takes a good part of a second, whoever it is.
    pub(in crate::server) fn verify(&self, user: &str, password: &str) -> bool {
        let hash = self.hash(user);
        let known = hash.is_some() && password.len() <= MAX_PASSWORD;
        let against = hash.as_deref().filter(|_| known).unwrap_or(NOBODY);
        let right = bcrypt::verify(password, against).unwrap_or(false) && known;
        if let Some(hash) = hash.filter(|_| right) {
            let tag = self.tag(user, password, &hash);
            let mut remembered = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(tag, Instant::now());
        }
        right
    }

    fn hash(&self, user: &str) -> Option<String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked.elapsed() > Duration::from_secs(1) {
            loaded.looked = Instant::now();
            let now = changed(&self.path);
            if now != loaded.changed {
                match read(&self.path) {
                    Ok(hashes) => (loaded.hashes, loaded.changed) = (hashes, now),
                    Err(error) => tracing::error!(%error, "the users stay as they were"),
                }
            }
        }
        loaded.hashes.get(user).cloned()
    }

    /// Depends on the stored hash too: a changed password is forgotten at once.
    fn tag(&self, user: &str, password: &str, hash: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, password, hash] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().to_vec()
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

fn read(path: &Path) -> Result<HashMap<String, String>, HtpasswdError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| HtpasswdError::Read { path: path.to_owned(), source })?;
    let mut hashes = HashMap::new();
    for (place, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason| HtpasswdError::Line { path: path.to_owned(), line: place + 1, reason };
        let (user, hash) = line.split_once(':').ok_or_else(|| wrong("no `:` after a user"))?;
        if user.is_empty() {
            return Err(wrong("no user before the `:`"));
        }
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|known| hash.starts_with(known));
        if !is_bcrypt || hash.len() != 60 {
            return Err(wrong("not a bcrypt hash: make it with `htpasswd -B`"));
        }
        hashes.insert(user.to_owned(), hash.to_owned());
    }
    Ok(hashes)
}
