//! All of the host's device nodes, for a privileged container.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mkdirat, mknodat};
use rustix::io::Errno;

use crate::error::{StartError, Step};

/// Directories of `/dev` that a container has its own of.
const OWN: [&str; 4] = ["pts", "shm", "mqueue", "fd"];

/// Makes every device node of the host's `/dev` in the current directory, where it is missing.
pub(crate) fn copy() -> Result<(), StartError> {
    copy_folder(Path::new("/dev"), Path::new(""))
}

fn copy_folder(host: &Path, here: &Path) -> Result<(), StartError> {
    let entries = std::fs::read_dir(host).step_with(|| format!("list {}", host.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let target = here.join(&name);
        // A node that disappears meanwhile was unplugged.
        let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() {
            if here.as_os_str().is_empty() && OWN.iter().any(|own| name == *own) {
                continue;
            }
            made(mkdirat(CWD, &target, Mode::from_raw_mode(0o755)), &target)?;
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_char_device() || kind.is_block_device() {
            let kind = if kind.is_char_device() {
                FileType::CharacterDevice
            } else {
                FileType::BlockDevice
            };
            // The console is the terminal's, and ptmx a link.
            if target != Path::new("console") && target != Path::new("ptmx") {
                let mode = Mode::from_raw_mode(metadata.mode() & 0o777);
                made(mknodat(CWD, &target, kind, mode, metadata.rdev()), &target)?;
            }
        }
    }
    Ok(())
}

fn made(result: Result<(), Errno>, target: &Path) -> Result<(), StartError> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other.step_with(|| format!("make the device node /dev/{}", target.display())),
    }
}
