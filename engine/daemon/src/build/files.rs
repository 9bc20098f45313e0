//! Where files go: the list of a layer that a `COPY`, `ADD` or `WORKDIR` makes.
//!
//! Rules are those of BuildKit (`solver/llbsolver/file`, `fsutil/copy`): a directory's content is
//! copied, not itself; what has to be made on the way is root's, mode 0755; a directory that is
//! there keeps its attributes if it is the destination, and takes the source's further down;
//! symlinks of the destination are followed, but never those met further down.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_builder::mode::Modes;
use hull_store::layer::Item;
use hull_store::select::{self, Found, join};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::error::ApiError;

/// Makes the list of a layer.
pub(super) struct Placing<'a> {
    /// What lies below the layer; nothing for an independent one.
    view: Option<&'a OwnedFd>,
    items: Vec<Item>,
    /// What the list has at a path: whether a directory.
    listed: HashMap<Vec<u8>, bool>,
    /// Directories that are not below the layer.
    absent: HashSet<Vec<u8>>,
    owner: Option<(u32, u32)>,
    modes: Option<&'a Modes>,
    time: i64,
}

/// A destination that was looked at.
pub(super) struct Destination {
    /// Where it is, through no symlink.
    pub(super) path: Vec<u8>,
    /// Whether files go into it.
    pub(super) is_directory: bool,
}

impl<'a> Placing<'a> {
    /// `owner` and `modes` are of everything that is placed. `time` is of what is made up.
    pub(super) fn new(
        view: Option<&'a OwnedFd>,
        owner: Option<(u32, u32)>,
        modes: Option<&'a Modes>,
        time: i64,
    ) -> Self {
        Self {
            view,
            items: Vec::new(),
            listed: HashMap::new(),
            absent: HashSet::new(),
            owner,
            modes,
            time,
        }
    }

    pub(super) fn into_items(self) -> Vec<Item> {
        self.items
    }

    /// What is at `path` below the layer, through no symlink.
    fn below(&mut self, path: &[u8]) -> Result<Option<Stat>, ApiError> {
        let Some(view) = self.view else { return Ok(None) };
        let (parent, _) = select::split(path);
        if self.absent.contains(parent) {
            return Ok(None);
        }
        match select::look(view.as_fd(), path) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(failed("look at", path, error)),
        }
    }

    /// Looks at a destination as an instruction names it.
    pub(super) fn destination(&self, text: &str) -> Result<Destination, ApiError> {
        let (path, exists) = match self.view {
            None => (select::clean(text.as_bytes()), None),
            Some(view) => {
                let (mut path, missing) = select::resolve(view.as_fd(), text.as_bytes())
                    .map_err(|error| failed("find", text.as_bytes(), error))?;
                let exists = missing.is_empty().then(|| select::look(view.as_fd(), &path).ok());
                missing.iter().for_each(|part| path = join(&path, part));
                (path, exists.flatten())
            }
        };
        let named = text.ends_with('/') || text == "/.";
        let is_directory = match &exists {
            Some(stat) if select::is_directory(stat) => true,
            Some(_) if named => {
                return Err(ApiError::invalid(format!(
                    "cannot copy into {text}: it is there and no directory"
                )));
            }
            _ => named,
        };
        Ok(Destination { path, is_directory })
    }

    /// Makes sure that there is a directory at `path`, which holds no symlinks.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<(), ApiError> {
        let mut walked: Vec<u8> = Vec::new();
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            walked = join(&walked, part);
            match self.listed.get(&walked) {
                Some(true) => continue,
                Some(false) => return Err(in_the_way(&walked)),
                None => {}
            }
            match self.below(&walked)? {
                Some(stat) if select::is_directory(&stat) => {
                    self.items.push(Item::Below { path: walked.clone() });
                }
                Some(_) => return Err(in_the_way(&walked)),
                None => {
                    self.absent.insert(walked.clone());
                    self.items.push(Item::Made {
                        to: walked.clone(),
                        data: None,
                        owner: self.owner.unwrap_or((0, 0)),
                        mode: self.mode(0o755, true),
                        time: self.time,
                    });
                }
            }
            self.listed.insert(walked.clone(), true);
        }
        Ok(())
    }

    fn mode(&self, mode: u32, directory: bool) -> u16 {
        let mode = self.modes.map_or(mode, |modes| modes.apply(mode, directory));
        u16::try_from(mode & 0o7777).unwrap_or_default()
    }

    /// Places a file with this content.
    pub(super) fn file(&mut self, to: &[u8], data: &[u8], mode: u32) -> Result<(), ApiError> {
        self.directory(select::split(to).0)?;
        self.refuse_directory(to)?;
        self.items.push(Item::Made {
            to: to.to_vec(),
            data: Some(data.to_vec()),
            owner: self.owner.unwrap_or((0, 0)),
            mode: self.mode(mode, false),
            time: self.time,
        });
        self.listed.insert(to.to_vec(), false);
        Ok(())
    }

    /// Places what was found: a directory's content at `to`, anything else as `to`. Without
    /// `owners` it becomes root's.
    pub(super) fn found(&mut self, found: &Found, to: &[u8], owners: bool) -> Result<(), ApiError> {
        if !found.is_directory() {
            self.directory(select::split(to).0)?;
            self.refuse_directory(to)?;
            return self.entry(&found.path, &found.stat, to, owners);
        }
        self.directory(to)?;
        for entry in &found.below {
            let to = join(to, &entry.path);
            if select::is_directory(&entry.stat) {
                self.refuse_other(&to)?;
            } else {
                self.refuse_directory(&to)?;
            }
            self.entry(&join(&found.path, &entry.path), &entry.stat, &to, owners)?;
        }
        Ok(())
    }

    /// Places the directories on the way to a source as the source has them (`--parents`).
    pub(super) fn parents(
        &mut self,
        tree: BorrowedFd<'_>,
        base: &[u8],
        kept: &[u8],
        to: &[u8],
        owners: bool,
    ) -> Result<(), ApiError> {
        let mut walked: Vec<u8> = Vec::new();
        for part in
            select::split(kept).0.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
        {
            walked = join(&walked, part);
            let target = join(to, &walked);
            if self.listed.get(&target) == Some(&true) {
                continue;
            }
            self.refuse_other(&target)?;
            let named = join(base, &walked);
            let from =
                select::real_path(tree, &named).map_err(|error| failed("find", &named, error))?;
            let stat =
                select::look(tree, &from).map_err(|error| failed("look at", &from, error))?;
            self.entry(&from, &stat, &target, owners)?;
        }
        Ok(())
    }

    fn entry(&mut self, from: &[u8], stat: &Stat, to: &[u8], owners: bool) -> Result<(), ApiError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let directory = kind == FileType::Directory;
        if kind == FileType::Socket {
            return Ok(());
        }
        if directory && self.below(to)?.is_none() {
            self.absent.insert(to.to_vec());
        }
        self.items.push(Item::Tree {
            from: from.to_vec(),
            to: to.to_vec(),
            owner: if owners { self.owner } else { Some(self.owner.unwrap_or((0, 0))) },
            mode: self.modes.map(|_| self.mode(stat.st_mode, directory)),
        });
        self.listed.insert(to.to_vec(), directory);
        Ok(())
    }

    fn refuse_directory(&mut self, to: &[u8]) -> Result<(), ApiError> {
        let listed = self.listed.get(to).copied();
        let is_directory = match listed {
            Some(directory) => directory,
            None => self.below(to)?.is_some_and(|stat| select::is_directory(&stat)),
        };
        if is_directory {
            return Err(ApiError::invalid(format!(
                "cannot copy a file to {}: a directory is there",
                shown(to)
            )));
        }
        Ok(())
    }

    fn refuse_other(&mut self, to: &[u8]) -> Result<(), ApiError> {
        let is_other = match self.listed.get(to).copied() {
            Some(directory) => !directory,
            None => self.below(to)?.is_some_and(|stat| !select::is_directory(&stat)),
        };
        if is_other { Err(in_the_way(to)) } else { Ok(()) }
    }
}

fn in_the_way(path: &[u8]) -> ApiError {
    ApiError::invalid(format!(
        "cannot copy a directory to {}: something that is no directory is there",
        shown(path)
    ))
}

fn failed(what: &str, path: &[u8], error: Errno) -> ApiError {
    let invalid = matches!(error, Errno::NOTDIR | Errno::LOOP);
    let kind = if invalid { hull_api::ErrorKind::Invalid } else { hull_api::ErrorKind::Internal };
    ApiError::chain(kind, &std::io::Error::from(error))
        .context(&format!("cannot {what} {}", shown(path)))
}

fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path).trim_start_matches('/'))
}

/// Looks up an owner as `--chown` and `USER` name it, in the tree of a stage.
pub(super) fn owner(view: &OwnedFd, text: &str) -> Result<(u32, u32), ApiError> {
    use hull_sandbox::user::lookup;
    const MAX_BYTES: u64 = 4 << 20;
    let (user, group) =
        text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let file = |path: &str| {
        Ok::<_, ApiError>(super::context::read(view, path, MAX_BYTES)?.unwrap_or_default())
    };
    let none: [&str; 0] = [];
    let failed = |error: hull_sandbox::user::LookupError| {
        ApiError::chain(hull_api::ErrorKind::Invalid, &error)
            .context(&format!("cannot find the owner {text:?}"))
            .hint("names are looked up in /etc/passwd and /etc/group of the stage; numbers need no entry")
    };
    let find =
        |spec: &str| lookup(&file("etc/passwd")?, &file("etc/group")?, spec, &none).map_err(failed);
    let (uid, own_group) = match user.parse::<u32>() {
        Ok(number) => (number, number),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let found = find(user)?;
            (found.uid, found.gid)
        }
    };
    let gid = match group.filter(|group| !group.is_empty()) {
        None => own_group,
        Some(group) => match group.parse::<u32>() {
            Ok(number) => number,
            Err(_) => find(&format!("0:{group}"))?.gid,
        },
    };
    Ok((uid, gid))
}
