//! The root file system: an overlay of the image's layers and the container's own directory.
//!
//! Built by the supervisor, in the initial user namespace, from descriptors. With a private id
//! range each layer and the upper directory are cloned and idmapped first, so that ids on disk
//! stay the container's own (0, 33 ...); the overlay itself cannot be idmapped, nor be made in
//! the container's user namespace.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::credentials::replace_file_ids;
use hull_sys::descriptor::close_all;
use hull_sys::mount::{Attributes, add_attributes, map_ids};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};
use rustix::thread::{capabilities, set_capabilities};

use crate::error::{StartError, StartErrorKind, Step};
use crate::spec::Rootfs;

/// The user namespace whose ids the layers are to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping<'n> {
    pub userns: BorrowedFd<'n>,
    pub first_uid: u32,
    pub first_gid: u32,
}

/// Builds the root file system as a mount attached nowhere. `layers` are top first.
pub(crate) fn build(
    layers: &[OwnedFd],
    upper: Option<&(OwnedFd, OwnedFd)>,
    mapping: Option<Mapping<'_>>,
    rootfs: &Rootfs,
) -> Result<OwnedFd, StartError> {
    let mapped = match mapping {
        Some(mapping) => Some(Mapped::new(layers, upper.map(|(upper, _)| upper), mapping)?),
        None => None,
    };
    let (layers, upper) = match &mapped {
        Some(mapped) => (&*mapped.layers, mapped.upper.as_ref()),
        None => (layers, upper),
    };
    if let ([layer], None) = (layers, upper) {
        return single_layer(layer);
    }
    let overlay = configure(layers, upper, rootfs)?;
    let root = match mapping {
        Some(mapping) => as_range_root(mapping, || create(&overlay, upper.is_some())),
        None => create(&overlay, upper.is_some()),
    };
    close_all(mapped.into_iter().flat_map(Mapped::into_descriptors).chain([overlay]));
    root
}

/// Idmapped clones of what an overlay is made of.
struct Mapped {
    layers: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
    /// The clone that holds the upper directory: it is unmounted when this is closed.
    upper_mount: Option<OwnedFd>,
}

impl Mapped {
    fn new(
        layers: &[OwnedFd],
        upper: Option<&OwnedFd>,
        mapping: Mapping<'_>,
    ) -> Result<Self, StartError> {
        let layers = layers
            .iter()
            .map(|layer| clone_mapped(layer, "", mapping, "an image layer"))
            .collect::<Result<_, _>>()?;
        // Both directories must be on one mount: what holds them is cloned.
        let mount = match upper {
            Some(upper) => Some(clone_mapped(upper, "..", mapping, "the container's directory")?),
            None => None,
        };
        let open = |mount: &OwnedFd, name| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(mount, name, flags, Mode::empty())
                .step_with(|| format!("open {name} in the container's directory"))
        };
        let upper = match &mount {
            Some(mount) => Some((open(mount, crate::UPPER)?, open(mount, crate::WORK)?)),
            None => None,
        };
        Ok(Self { layers, upper, upper_mount: mount })
    }

    fn into_descriptors(self) -> impl Iterator<Item = OwnedFd> {
        let upper = self.upper.into_iter().flat_map(|(upper, work)| [upper, work]);
        self.layers.into_iter().chain(upper).chain(self.upper_mount)
    }
}

fn clone_mapped(
    tree: &OwnedFd,
    path: &str,
    mapping: Mapping<'_>,
    what: &str,
) -> Result<OwnedFd, StartError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = open_tree(tree, path, flags).step_with(|| format!("clone the mount of {what}"))?;
    map_ids(&clone, mapping.userns, false).map_err(|error| {
        StartError::new(
            StartErrorKind::Unavailable,
            format!("the file system of {what} cannot translate ids: {}", crate::error::reason(&error)),
        )
        .hint("keep Hull's data on a local file system that supports idmapped mounts, or use --userns=host")
    })?;
    Ok(clone)
}

/// An overlay of one layer without an upper directory does not exist: it is the layer itself.
fn single_layer(layer: &OwnedFd) -> Result<OwnedFd, StartError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = open_tree(layer, "", flags).step("clone the mount of the image's layer")?;
    add_attributes(&clone, Attributes::RDONLY, false).step("make the image's layer read-only")?;
    Ok(clone)
}

fn configure(
    layers: &[OwnedFd],
    upper: Option<&(OwnedFd, OwnedFd)>,
    rootfs: &Rootfs,
) -> Result<OwnedFd, StartError> {
    let overlay =
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step("open the overlay file system")?;
    let by_descriptor = takes_descriptors();
    let set = |key: &str, directory: &OwnedFd| {
        if by_descriptor {
            fsconfig_set_fd(&overlay, key, directory)
        } else {
            use std::os::fd::AsRawFd;
            fsconfig_set_string(&overlay, key, format!("/proc/self/fd/{}", directory.as_raw_fd()))
        }
    };
    for layer in layers {
        set("lowerdir+", layer).map_err(|error| match error {
            Errno::INVAL if kernel() < (6, 8) => too_old(),
            error => explain(&overlay, error),
        })?;
    }
    if let Some((upper, work)) = upper {
        set("upperdir", upper).map_err(|error| explain(&overlay, error))?;
        set("workdir", work).map_err(|error| explain(&overlay, error))?;
        if rootfs.volatile {
            fsconfig_set_flag(&overlay, "volatile").map_err(|error| explain(&overlay, error))?;
        }
    }
    // A layer must not steer where its files come from by the overlay's own attributes.
    for (key, value) in [("source", "overlay"), ("metacopy", "off"), ("redirect_dir", "nofollow")] {
        fsconfig_set_string(&overlay, key, value).map_err(|error| explain(&overlay, error))?;
    }
    Ok(overlay)
}

/// Linux 6.13 learned to take overlay directories as descriptors.
fn takes_descriptors() -> bool {
    kernel() >= (6, 13)
}

/// Version and patch level of the kernel.
fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_str().unwrap_or("");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn too_old() -> StartError {
    let (version, level) = kernel();
    StartError::new(
        StartErrorKind::Unavailable,
        format!("overlays of Linux {version}.{level} do not take layers one by one"),
    )
    .hint("Hull needs Linux 6.12 or later")
}

/// Runs `make` with the file ids of the range's root: the kernel makes the overlay's work
/// directory as them, and falls back to a read-only mount, without an error, when they mean
/// nothing on the idmapped upper.
fn as_range_root<T>(
    mapping: Mapping<'_>,
    make: impl FnOnce() -> Result<T, StartError>,
) -> Result<T, StartError> {
    let all = capabilities(None).step("read our capabilities")?;
    let root = (mapping.first_uid, mapping.first_gid);
    let own = replace_file_ids(root.0, root.1);
    let made = set_capabilities(None, all).step("keep our capabilities").and_then(|()| make());
    if replace_file_ids(own.0, own.1) != root {
        return Err(StartError::new(
            StartErrorKind::Denied,
            "cannot act as the root of the id range",
        ));
    }
    made
}

fn create(overlay: &OwnedFd, writable: bool) -> Result<OwnedFd, StartError> {
    fsconfig_create(overlay).map_err(|error| explain(overlay, error))?;
    let mount = fsmount(overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(|error| explain(overlay, error))?;
    if writable {
        let flags = fstatvfs(&mount).step("check the container's root file system")?.f_flag;
        if flags.contains(StatVfsMountFlags::RDONLY) {
            return Err(StartError::new(
                StartErrorKind::Unavailable,
                "the kernel made the container's root file system read-only",
            )
            .hint("see the kernel's log for lines that begin with `overlayfs`"));
        }
    }
    Ok(mount)
}

/// An overlay's error with what the kernel says about it.
fn explain(overlay: &OwnedFd, error: Errno) -> StartError {
    let mut text = [0u8; 256];
    let said = match rustix::io::read(overlay, &mut text) {
        Ok(length) => {
            String::from_utf8_lossy(text.get(2..length).unwrap_or_default()).trim().to_owned()
        }
        Err(_) => String::new(),
    };
    let said = if said.is_empty() { said } else { format!(" ({said})") };
    Err::<(), _>(error)
        .step_with(|| format!("make the container's root file system{said}"))
        .expect_err("made from an error")
}

/// Idmaps a user's tree in place.
pub(crate) fn map_tree(
    tree: BorrowedFd<'_>,
    userns: BorrowedFd<'_>,
    shown: &str,
    destination: &str,
) -> Result<(), StartError> {
    map_ids(tree.as_fd(), userns, true).map_err(|error| {
        StartError::new(
            StartErrorKind::Unavailable,
            format!("the file system of {shown}, to be mounted on {destination}, cannot translate ids: {}", crate::error::reason(&error)),
        )
        .hint("add `idmap=none` to the mount: its files then belong to nobody inside the container, or use --userns=host")
    })
}

/// Whether a tree's own file system is procfs.
pub(crate) fn is_proc(tree: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(tree).is_ok_and(|stat| stat.f_type == rustix::fs::PROC_SUPER_MAGIC)
}
