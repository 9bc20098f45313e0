//! Finding out whether erofs layers work in a data root: by mounting one.

use std::fmt;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::LayerMode;
use super::mount::mount_erofs;
use crate::Store;
use crate::error::FileError;
use crate::format::LAYER_MODE;
use crate::root::{Durability, random_name};
use crate::snapshot::read_only_overlay;
use crate::tree;

/// How new layers are kept, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The mode.
    pub mode: LayerMode,
    /// Why erofs layers do not work here; `None` if they do or were not asked for. Together with
    /// [`LayerMode::Erofs`] it means that the operator asked for what does not work.
    pub reason: Option<String>,
}

/// What is remembered of a probe.
#[derive(Serialize, Deserialize)]
struct Remembered {
    format: u32,
    kernel: String,
    /// Device of the data root: a copied or remounted root is probed again.
    device: u64,
    reason: Option<String>,
}

const CONTENT: &[u8] = b"hull\n";
const BLOCK: usize = 512;

impl Store {
    /// How new layers are kept here. The answer of the probe mount is remembered in the data root
    /// until the kernel or the device changes.
    pub fn layer_mode(&self) -> Result<&Probe, FileError> {
        if let Some(probe) = self.probed_mode.get() {
            return Ok(probe);
        }
        let probe = match self.chosen_mode {
            Some(LayerMode::Unpack) => Probe { mode: LayerMode::Unpack, reason: None },
            chosen => {
                let reason = self.erofs_obstacle()?;
                let works = reason.is_none() || chosen.is_some();
                Probe { mode: if works { LayerMode::Erofs } else { LayerMode::Unpack }, reason }
            }
        };
        Ok(self.probed_mode.get_or_init(|| probe))
    }

    fn erofs_obstacle(&self) -> Result<Option<String>, FileError> {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let stat = rustix::fs::fstat(self.root.as_fd())
            .map_err(|error| self.root.error("look at", "", error))?;
        let device = stat.st_dev;
        let remembered = self.root.read(LAYER_MODE, 64 * 1024)?;
        if let Some(known) =
            remembered.and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok())
            && known.format == crate::format::OBJECT_FORMAT
            && known.kernel == kernel
            && known.device == device
        {
            return Ok(known.reason);
        }
        let reason = self.try_erofs()?;
        // Without privilege every probe fails: that says nothing about the next one to ask.
        if rustix::process::geteuid().is_root() {
            let format = crate::format::OBJECT_FORMAT;
            let known = Remembered { format, kernel, device, reason: reason.clone() };
            let json = serde_json::to_vec(&known).expect("plain text and numbers are JSON");
            self.root.replace(LAYER_MODE, &json, Durability::Volatile)?;
        }
        Ok(reason)
    }

    /// Mounts a tiny image and reads a file of it through an overlay.
    fn try_erofs(&self) -> Result<Option<String>, FileError> {
        let (index, data) = tiny_image();
        let path = format!("ingest/{}", random_name());
        // Held over the mount: a collection must not take the two files away under it. It is
        // once per kernel.
        let _lock = self.root.lock_shared()?;
        self.root.make_directory(&path, 0o700)?;
        let result = (|| {
            for (name, bytes) in [("erofs", &index), ("tar", &data)] {
                let file = self.root.filled(bytes, Durability::Volatile)?;
                self.root.link(&file, &format!("{path}/{name}"))?;
            }
            Ok(read_through_mount(&self.root.path().join(&path)).err())
        })();
        if let Err(error) = tree::remove(self.root.as_fd(), &path) {
            tracing::warn!(path, %error, "cannot remove the files of the probe mount");
        }
        result
    }
}

fn read_through_mount(directory: &Path) -> Result<(), String> {
    let fail = |what: &str, error: &dyn fmt::Display| format!("{what}: {error}");
    let erofs = mount_erofs(directory).map_err(|error| fail("mounting EROFS", &error))?;
    let overlay = read_only_overlay(&[erofs.as_fd()])
        .map_err(|error| fail("an overlay over EROFS", &error))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&overlay, "probe", flags, Mode::empty())
        .map_err(|error| fail("opening a file on EROFS", &error))?;
    let mut content = Vec::new();
    std::fs::File::from(file)
        .read_to_end(&mut content)
        .map_err(|error| fail("reading from EROFS", &error))?;
    if content == CONTENT { Ok(()) } else { Err("reading from EROFS: wrong content".to_owned()) }
}

/// An EROFS index with one file `probe`, and the device that file's bytes lie on.
fn tiny_image() -> (Vec<u8>, Vec<u8>) {
    let mut data = CONTENT.to_vec();
    data.resize(BLOCK, 0);
    (image_of_one_file("probe", CONTENT.len()), data)
}

/// An EROFS index with one file of `size` bytes, at most 512, at the start of the device.
///
/// Blocks of 512 bytes: the superblock and the device slot in block 2, inodes in block 3, the
/// root directory in block 4; block 5 is the device's first. Layout: the kernel's
/// `fs/erofs/erofs_fs.h`.
pub(crate) fn image_of_one_file(name: &str, size: usize) -> Vec<u8> {
    const META_BLOCK: u32 = 3;
    const DIRECTORY_BLOCK: u32 = 4;
    const BLOCKS: u32 = 5;
    let mut index = vec![0_u8; BLOCK * 5];
    let mut put = |offset: usize, bytes: &[u8]| {
        index[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    let superblock = 1024;
    put(superblock, &0xE0F5_E1E2_u32.to_le_bytes());
    put(superblock + 12, &[9]); // block size, as a power of two
    put(superblock + 16, &2_u64.to_le_bytes()); // inodes
    put(superblock + 36, &BLOCKS.to_le_bytes());
    put(superblock + 40, &META_BLOCK.to_le_bytes());
    put(superblock + 80, &8_u32.to_le_bytes()); // has a device table
    put(superblock + 86, &1_u16.to_le_bytes()); // one extra device
    put(superblock + 88, &9_u16.to_le_bytes()); // its slot, in units of 128 bytes
    let slot = superblock + 128;
    put(slot, b"tar");
    put(slot + 64, &1_u32.to_le_bytes()); // blocks of the device
    put(slot + 68, &BLOCKS.to_le_bytes()); // where they are mapped

    let names: [(&[u8], u64, u8); 3] = [(b".", 0, 2), (b"..", 0, 2), (name.as_bytes(), 2, 1)];
    let directory = DIRECTORY_BLOCK as usize * BLOCK;
    let mut name_offset = names.len() * 12;
    for (position, (name, inode, kind)) in names.into_iter().enumerate() {
        let entry = directory + position * 12;
        put(entry, &inode.to_le_bytes());
        put(entry + 8, &u16::try_from(name_offset).expect("within a block").to_le_bytes());
        put(entry + 10, &[kind]);
        put(directory + name_offset, name);
        name_offset += name.len();
    }
    let mut inode = |number: usize, mode: u16, size: usize, block: u32, links: u32| {
        let inode = META_BLOCK as usize * BLOCK + number * 32;
        put(inode, &1_u16.to_le_bytes()); // extended, plain
        put(inode + 4, &mode.to_le_bytes());
        put(inode + 8, &(size as u64).to_le_bytes());
        put(inode + 16, &block.to_le_bytes());
        put(inode + 20, &(u32::try_from(number).expect("small") + 1).to_le_bytes());
        put(inode + 44, &links.to_le_bytes());
    };
    inode(0, 0o040_755, name_offset, DIRECTORY_BLOCK, 2);
    inode(2, 0o100_444, size, BLOCKS, 1);
    index
}
