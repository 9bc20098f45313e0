//! Images with the probe, and with busybox where the machine has a static one.

use std::path::PathBuf;

use serde_json::json;

use crate::archive::{Entry, Tar};
use crate::image::{Compression, Image};
use crate::needs;

/// Applets that tests use.
const APPLETS: &[&str] = &[
    "cat", "chmod", "chown", "cp", "date", "dd", "df", "echo", "env", "false", "find", "grep",
    "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mkfifo", "mount", "mv", "ps", "pwd",
    "readlink", "rm", "sed", "seq", "sh", "sleep", "sort", "stat", "stty", "tail", "test", "touch",
    "true", "tty", "umount", "wc", "yes",
];

/// The base of every test image: account files, the usual folders and the probe at `/probe`.
pub fn base_tar() -> Tar {
    let probe = std::fs::read(needs::programs().join("hull-probe")).expect("the probe is built");
    let passwd = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\n\
        nobody:x:65534:65534::/nonexistent:/bin/sh\n";
    let group = "root:x:0:\nwww-data:x:33:\nstaff:x:50:www-data\nnogroup:x:65534:\n";
    Tar::new()
        .directory("bin/", 0o755)
        .directory("etc/", 0o755)
        .directory("root/", 0o700)
        .directory("tmp/", 0o1777)
        .directory("var/", 0o755)
        .entry(&Entry {
            name: "var/www/",
            mode: 0o755,
            uid: 33,
            gid: 33,
            kind: crate::archive::DIRECTORY,
            ..Entry::default()
        })
        .file("etc/passwd", 0o644, passwd.as_bytes())
        .file("etc/group", 0o644, group.as_bytes())
        .file("probe", 0o755, &probe)
}

/// An image that holds the probe and nothing that could run besides.
pub fn probe_image() -> Image {
    Image::new()
        .layer(base_tar().finish(), Compression::Gzip)
        .set("Cmd", json!(["/probe"]))
        .set("Env", json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]))
}

/// The same with busybox, if the machine has a static one; says so if it has not.
pub fn busybox_image() -> Option<Image> {
    let busybox = std::fs::read(static_busybox()?).expect("busybox can be read");
    let mut tar = base_tar().file("bin/busybox", 0o755, &busybox);
    for applet in APPLETS {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    let image = Image::new()
        .layer(tar.finish(), Compression::Gzip)
        .set("Cmd", json!(["sh"]))
        .set("Env", json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]));
    Some(image)
}

/// A busybox that needs no loader: the fixture, else the machine's own.
pub fn static_busybox() -> Option<PathBuf> {
    let fixture = std::env::var_os("HULL_FIXTURES").map(|f| PathBuf::from(f).join("busybox"));
    let path = match fixture {
        Some(path) if path.exists() => path,
        _ => needs::program("busybox")?,
    };
    let bytes = std::fs::read(&path).ok()?;
    let loader = b"/lib64/ld-linux";
    if bytes.windows(loader.len()).take(4096).any(|window| window == loader) {
        needs::skip("busybox is not static: install busybox-static");
        return None;
    }
    Some(path)
}
