//! Volumes of an image, bind mounts and tmpfs.

use hull_test_support::Hull;
use hull_test_support::archive::{DIRECTORY, Entry};
use hull_test_support::busybox::{base_tar, busybox_image, static_busybox};
use hull_test_support::image::{Compression, Image};
use serde_json::json;

/// Busybox with a volume that holds files of another owner.
fn image_with_volume() -> Option<Image> {
    let busybox = std::fs::read(static_busybox()?).ok()?;
    let mine = |name, kind, data| Entry {
        name,
        kind,
        data,
        mode: 0o750,
        uid: 33,
        gid: 50,
        ..Entry::default()
    };
    let mut tar = base_tar().file("bin/busybox", 0o755, &busybox);
    for applet in ["sh", "cat", "ls", "stat", "sleep", "echo"] {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    let tar = tar
        .entry(&mine("srv/", DIRECTORY, b""))
        .entry(&mine("srv/file", b'0', b"from the image"))
        .symlink("srv/link", "file");
    let image = Image::new()
        .layer(tar.finish(), Compression::Gzip)
        .set("Env", json!(["PATH=/bin"]))
        .set("Volumes", json!({"/srv": {}, "/fresh/deep": {}}));
    Some(image)
}

#[test]
fn privileged_anonymous_volumes() {
    let Some(hull) = Hull::new() else { return };
    let Some(image) = image_with_volume() else { return };
    hull.load(&image, "image");
    let script = "cat /srv/link; echo; stat -c '%u %g %a' /srv /srv/file; echo new > /srv/new; \
        echo deep > /fresh/deep/f";
    let said = hull.ok(&["run", "--name", "box", "image", "sh", "-c", script]);
    assert_eq!(said, "from the image\n33 50 750\n33 50 750");
    assert_eq!(hull.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    // The volume keeps what was written, the second start sees it.
    let mounts = hull.inspect("box", "{{range .Mounts}}{{.Type}} {{.Destination}} {{end}}");
    assert!(mounts.contains("volume /srv"), "{mounts}");
    hull.ok(&["rm", "-v", "box"]);
    assert_eq!(hull.ok(&["volume", "ls", "-q"]), "");
    // --rm takes them along, rm without -v does not.
    hull.ok(&["run", "--rm", "image", "sh", "-c", "echo x > /srv/x"]);
    assert_eq!(hull.ok(&["volume", "ls", "-q"]), "");
    hull.ok(&["run", "--name", "box", "image", "sh", "-c", "true"]);
    hull.ok(&["rm", "box"]);
    assert_eq!(hull.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    hull.ok(&["volume", "prune", "-f", "-a"]);
    hull.finish();
}

#[test]
fn privileged_volumes_outlive_a_restart() {
    let Some(hull) = Hull::new() else { return };
    let Some(image) = image_with_volume() else { return };
    hull.load(&image, "image");
    let script = "cat /srv/count 2>/dev/null; echo again >> /srv/count";
    hull.ok(&["create", "--name", "box", "image", "sh", "-c", script]);
    for _ in 0..3 {
        hull.ok(&["start", "-a", "box"]);
    }
    assert_eq!(hull.ok(&["logs", "box"]), "again\nagain\nagain");
    hull.finish();
}

#[test]
fn privileged_bind_mounts_keep_their_owners() {
    let Some(hull) = Hull::new() else { return };
    let Some(image) = busybox_image() else { return };
    hull.load(&image, "busybox");
    let source = hull.folder().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "from the host").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1234), Some(4321)).unwrap();
    let bind = format!("{}:/mnt/here", source.display());
    let script = "cat /mnt/here/file; echo; stat -c '%u %g' /mnt/here/file; echo x > /mnt/here/new";
    let said = hull.ok(&["run", "--rm", "-v", &bind, "busybox", "sh", "-c", script]);
    assert_eq!(said, "from the host\n1234 4321");
    let made = std::fs::metadata(source.join("new")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((made.uid(), made.gid()), (0, 0));
    let read_only = format!("{bind}:ro");
    let write = ["run", "--rm", "-v", &read_only, "busybox", "sh", "-c", "echo x > /mnt/here/new2"];
    assert_ne!(hull.run(&write).code, 0);
    assert!(!source.join("new2").exists());
    let mount = format!("type=bind,source={},target=/mnt/here,readonly", source.display());
    let write =
        ["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", "echo x > /mnt/here/new2"];
    assert_ne!(hull.run(&write).code, 0);
    // One file over another.
    let one = format!("{}:/etc/passwd:ro", source.join("file").display());
    assert_eq!(
        hull.ok(&["run", "--rm", "-v", &one, "-u", "0", "busybox", "cat", "/etc/passwd"]),
        "from the host"
    );
    hull.finish();
}

#[test]
fn privileged_tmpfs() {
    let Some(hull) = Hull::new() else { return };
    let Some(image) = busybox_image() else { return };
    hull.load(&image, "busybox");
    let run = |option: &[&str], script: &str| {
        let mut words = vec!["run", "--rm"];
        words.extend(option);
        words.extend(["busybox", "sh", "-c", script]);
        hull.ok(&words)
    };
    let stat = "stat -c %a /t; stat -f -c %T /t";
    assert_eq!(run(&["--tmpfs", "/t:size=1m,mode=1700"], stat), "1700\ntmpfs");
    let fill = "dd if=/dev/zero of=/t/f bs=1M count=4 2>/dev/null || echo full";
    assert_eq!(run(&["--tmpfs", "/t:size=1m"], fill), "full");
    let option = ["--mount", "type=tmpfs,target=/t,tmpfs-size=1m"];
    assert_eq!(run(&option, fill), "full");
    hull.finish();
}
