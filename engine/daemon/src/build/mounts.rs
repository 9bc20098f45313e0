//! `RUN --mount`.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use hull_api::ErrorKind;
use hull_builder::ignore::Ignore;
use hull_builder::mount::Sharing;
use hull_builder::plan::{RunMount, Script, Source};
use hull_sandbox::spec::{Mount, MountSource};
use hull_store::cache::CacheMount;
use hull_store::layer::Item;
use hull_store::select::{self, Found, join};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::agent::{self, Forward};
use super::context::Tree;
use super::job::Build;
use super::key::Inputs;
use crate::error::ApiError;

/// What a `RUN` sees beside its root file system.
#[derive(Default)]
pub(super) struct Mounted {
    pub(super) mounts: Vec<Mount>,
    pub(super) trees: Vec<OwnedFd>,
    pub(super) env: Vec<(String, String)>,
    /// Keeps them from others while the step runs.
    _caches: Vec<CacheMount>,
    /// They lead somewhere while the step runs.
    _agents: Vec<Forward>,
}

/// The mounts of a `RUN`, whose sources are known.
pub(super) struct Mounts<'s> {
    mounts: &'s [RunMount],
    script: Option<&'s Script>,
    bound: Vec<Option<(Arc<Tree>, Vec<Found>)>>,
}

impl<'s> Mounts<'s> {
    /// Finds what is mounted, and adds what the result depends on to `inputs`: the content of
    /// trees, and of everything else only that it is there.
    pub(super) fn prepare(
        build: &Build<'_>,
        mounts: &'s [RunMount],
        script: Option<&'s Script>,
        inputs: &mut Inputs,
    ) -> Result<Self, ApiError> {
        if let Some(script) = script {
            inputs.add_hidden("the script", &script.data);
        }
        let mut bound = Vec::new();
        for mount in mounts {
            bound.push(match mount {
                RunMount::Bind { from, source, target, writable } => {
                    let (tree, found) = find(build, from, source)?;
                    inputs.add(format!("the mount on {target}"), format!("bind {writable}"));
                    inputs.add(
                        format!("what is mounted on {target}"),
                        tree.digest(&found)?.to_string(),
                    );
                    Some((tree, found))
                }
                RunMount::Cache { from, source, target, .. } => {
                    inputs.add(format!("the mount on {target}"), "cache");
                    match from {
                        Some(from) => {
                            let (tree, found) = find(build, from, source)?;
                            inputs.add(
                                format!("what the cache on {target} begins with"),
                                tree.digest(&found)?.to_string(),
                            );
                            Some((tree, found))
                        }
                        None => None,
                    }
                }
                RunMount::Tmpfs { target, size } => {
                    inputs.add(format!("the mount on {target}"), format!("tmpfs {size:?}"));
                    None
                }
                RunMount::Secret { id, target, env, mode, uid, gid, .. } => {
                    let shape = format!("{target:?} {env:?} {mode:?} {uid:?} {gid:?}");
                    inputs.add(format!("the secret {id}"), shape);
                    None
                }
                RunMount::Ssh { id, target, mode, uid, gid, .. } => {
                    let shape = format!("{target:?} {mode:?} {uid:?} {gid:?}");
                    inputs.add(format!("the ssh agent {id}"), shape);
                    None
                }
            });
        }
        Ok(Self { mounts, script, bound })
    }

    /// Where something is mounted: directories and files that the image need not have.
    pub(super) fn targets(&self, build: &Build<'_>) -> Vec<(String, bool)> {
        let mut ssh = 0..;
        let mut targets = Vec::new();
        for (mount, bound) in std::iter::zip(self.mounts, &self.bound) {
            match mount {
                RunMount::Bind { target, .. } => {
                    let found = bound.as_ref().and_then(|(_, found)| found.first());
                    targets.push((target.clone(), found.is_none_or(Found::is_directory)));
                }
                RunMount::Cache { target, .. } | RunMount::Tmpfs { target, .. } => {
                    targets.push((target.clone(), true));
                }
                RunMount::Secret { id, .. } if !build.request.secrets.contains_key(id) => {}
                RunMount::Secret { target, .. } => {
                    targets.extend(target.clone().map(|target| (target, false)));
                }
                RunMount::Ssh { id, target, .. } => {
                    let number = ssh.next().unwrap_or_default();
                    if !build.request.ssh.contains_key(id) {
                        continue;
                    }
                    targets.push((ssh_target(target.as_deref(), number), false));
                }
            }
        }
        targets
    }

    /// Makes everything that is mounted.
    pub(super) fn mount(&self, build: &Build<'_>) -> Result<Mounted, ApiError> {
        let mut mounted = Mounted::default();
        // Whoever takes several directories that others wait for takes them in the same order.
        let mut caches = self.caches();
        caches.sort_by(|a, b| a.1.cmp(b.1));
        let mut taken: Vec<Option<OwnedFd>> = self.mounts.iter().map(|_| None).collect();
        for (index, ..) in caches {
            taken[index] = Some(self.cache(build, index, &mut mounted)?);
        }
        let mut ssh = 0..;
        for (index, mount) in self.mounts.iter().enumerate() {
            match mount {
                RunMount::Bind { target, writable, source, .. } => {
                    let Some((tree, found)) = &self.bound[index] else { continue };
                    let tree = materialize(build, tree, found, source)?;
                    mounted.tree(tree, target, source, !writable);
                }
                RunMount::Cache { target, read_only, id, .. } => {
                    if let Some(tree) = taken[index].take() {
                        mounted.tree(tree, target, id, *read_only);
                    }
                }
                RunMount::Tmpfs { target, size } => mounted.mounts.push(Mount {
                    destination: target.clone(),
                    source: MountSource::Tmpfs { size: *size, mode: Some(0o1777), exec: true },
                    readonly: false,
                }),
                RunMount::Secret { id, target, env, required, mode, uid, gid } => {
                    let Some(secret) = build.request.secrets.get(id) else {
                        if *required {
                            return Err(ApiError::invalid(format!("secret {id} is required and was not given"))
                                .hint(format!("give it with --secret id={id},src=FILE or --secret id={id},env=NAME")));
                        }
                        continue;
                    };
                    if let Some(target) = target {
                        let owner = (uid.unwrap_or(0), gid.unwrap_or(0));
                        let file = memory_file(&secret.0, mode.unwrap_or(0o400), owner)?;
                        mounted.tree(file, target, &format!("secret {id}"), true);
                    }
                    if let Some(name) = env {
                        let text = String::from_utf8(secret.0.clone()).map_err(|_| {
                            ApiError::invalid(format!(
                                "secret {id} is no UTF-8 and cannot be the variable {name}"
                            ))
                        })?;
                        mounted.env.push((name.clone(), text));
                    }
                }
                RunMount::Ssh { id, target, required, mode, uid, gid } => {
                    let number = ssh.next().unwrap_or_default();
                    let Some(socket) = build.request.ssh.get(id) else {
                        if *required {
                            return Err(ApiError::invalid(format!(
                                "ssh agent {id} is required and was not given"
                            ))
                            .hint(format!("give it with --ssh {id}, or --ssh {id}=SOCKET")));
                        }
                        continue;
                    };
                    let target = ssh_target(target.as_deref(), number);
                    let owner = (uid.unwrap_or(0), gid.unwrap_or(0));
                    let (directory, mode) = (build.area.directory()?, mode.unwrap_or(0o600));
                    let forward = Forward::start(directory, socket.as_ref(), mode, owner).map_err(
                        |error| {
                            ApiError::internal(&error)
                                .context(&format!("cannot pass on the ssh agent {socket}"))
                        },
                    )?;
                    let tree = clone(forward.directory().as_fd(), agent::NAME)
                        .map_err(|error| failed(&format!("mount the ssh agent {socket}"), error))?;
                    mounted._agents.push(forward);
                    mounted.tree(tree, &target, &format!("ssh agent {id}"), false);
                    if number == 0 {
                        mounted.env.push(("SSH_AUTH_SOCK".to_owned(), target));
                    }
                }
            }
        }
        if let Some(script) = self.script {
            let file = memory_file(script.data.as_bytes(), 0o755, (0, 0))?;
            mounted.tree(file, &format!("/dev/pipes/{}", script.name), "a heredoc", true);
        }
        Ok(mounted)
    }

    fn caches(&self) -> Vec<(usize, &str)> {
        let cache = |(index, mount): (usize, &'s RunMount)| match mount {
            RunMount::Cache { id, .. } => Some((index, id.as_str())),
            _ => None,
        };
        self.mounts.iter().enumerate().filter_map(cache).collect()
    }

    /// Takes the directory of one cache mount, filled if it is new.
    fn cache(
        &self,
        build: &Build<'_>,
        index: usize,
        mounted: &mut Mounted,
    ) -> Result<OwnedFd, ApiError> {
        let RunMount::Cache { id, source, sharing, mode, uid, gid, from, .. } = &self.mounts[index]
        else {
            return Err(ApiError::new(ErrorKind::Internal, "no cache mount"));
        };
        let sharing = match sharing {
            Sharing::Shared => hull_store::cache::Sharing::Shared,
            Sharing::Private => hull_store::cache::Sharing::Private,
            Sharing::Locked => hull_store::cache::Sharing::Locked,
        };
        let owner = (uid.unwrap_or(0), gid.unwrap_or(0));
        let cache = build.store.cache_mount(id, sharing, owner, mode.unwrap_or(0o755))?;
        if let (true, Some((tree, found))) = (cache.fresh, &self.bound[index]) {
            fill(build, tree, found, &cache.tree)?;
        }
        let inside = if from.is_some() { "" } else { source.as_str() };
        let directory = beneath(&cache.tree, inside)?;
        let tree = clone(directory.as_fd(), "")
            .map_err(|error| failed(&format!("mount the cache {id}"), error))?;
        mounted._caches.push(cache);
        Ok(tree)
    }
}

impl Mounted {
    fn tree(&mut self, tree: OwnedFd, target: &str, shown: &str, readonly: bool) {
        self.mounts.push(Mount {
            destination: target.to_owned(),
            source: MountSource::Tree {
                tree: self.trees.len(),
                idmap: true,
                shown: shown.to_owned(),
            },
            readonly,
        });
        self.trees.push(tree);
    }
}

fn ssh_target(target: Option<&str>, number: u32) -> String {
    target.map_or_else(|| format!("/run/buildkit/ssh_agent.{number}"), str::to_owned)
}

fn find(
    build: &Build<'_>,
    from: &Source,
    source: &str,
) -> Result<(Arc<Tree>, Vec<Found>), ApiError> {
    let tree = build.tree(from)?;
    let found = tree.take(&escaped(source), &Ignore::default())?;
    Ok((tree, found))
}

/// A path that is no pattern, as a pattern.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for letter in path.chars() {
        if matches!(letter, '*' | '?' | '[' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// A directory of its own with what was found: a mount of it shows nothing else, and what is
/// written to it is gone with the build.
fn materialize(
    build: &Build<'_>,
    tree: &Tree,
    found: &[Found],
    source: &str,
) -> Result<OwnedFd, ApiError> {
    let directory = build.area.directory()?;
    let what = || format!("mount {source}");
    let Some(one) = found.first() else {
        return Err(ApiError::invalid(format!("cannot mount {source}: nothing is there")));
    };
    fill(build, tree, found, &directory)?;
    if one.is_directory() {
        let mode = Mode::from_raw_mode(one.stat.st_mode & 0o7777);
        let (uid, gid) = if tree.owners { (one.stat.st_uid, one.stat.st_gid) } else { (0, 0) };
        rustix::fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .and_then(|()| rustix::fs::fchmod(&directory, mode))
            .map_err(|error| failed(&what(), error))?;
        return clone(directory.as_fd(), "").map_err(|error| failed(&what(), error));
    }
    clone(directory.as_fd(), "file").map_err(|error| failed(&what(), error))
}

/// Copies what was found into an empty directory: what a directory holds, or a file as `file`.
fn fill(
    build: &Build<'_>,
    tree: &Tree,
    found: &[Found],
    directory: &OwnedFd,
) -> Result<(), ApiError> {
    let owner = if tree.owners { None } else { Some((0, 0)) };
    let mut items = Vec::new();
    for one in found {
        let item =
            |from: Vec<u8>, to: &[u8]| Item::Tree { from, to: to.to_vec(), owner, mode: None };
        if !one.is_directory() {
            items.push(item(one.path.clone(), b"file"));
        }
        for entry in &one.below {
            items.push(item(join(&one.path, &entry.path), &entry.path));
        }
    }
    build.unpack_list(&items, tree.root.as_fd(), directory)
}

/// The directory at `path` beneath `root`, made if it is missing; never through a symlink.
fn beneath(root: &OwnedFd, path: &str) -> Result<OwnedFd, ApiError> {
    let mut walked: Vec<u8> = Vec::new();
    let io = |error| failed(&format!("open {path} in the cache"), error);
    let mut at = root.try_clone().map_err(|error| ApiError::internal(&error))?;
    for part in select::clean(path.as_bytes()).split(|&byte| byte == b'/') {
        if part.is_empty() {
            continue;
        }
        match rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io(error)),
        }
        walked = join(&walked, part);
        at = select::open(root.as_fd(), &walked, OFlags::RDONLY | OFlags::DIRECTORY).map_err(io)?;
    }
    Ok(at)
}

/// A file that is on no disk, as a mount attached nowhere.
fn memory_file(data: &[u8], mode: u32, (uid, gid): (u32, u32)) -> Result<OwnedFd, ApiError> {
    let make = || -> rustix::io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "mode", "0700")?;
        rustix::mount::fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&mount, "file", flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        file.write_all(data)
            .map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
        clone(mount.as_fd(), "file")
    };
    make().map_err(|error| failed("keep a file in memory", error))
}

fn clone(base: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    rustix::mount::open_tree(base, path, flags)
}

fn failed(what: &str, error: Errno) -> ApiError {
    ApiError::chain(ErrorKind::Unavailable, &std::io::Error::from(error))
        .context(&format!("cannot {what}"))
}
