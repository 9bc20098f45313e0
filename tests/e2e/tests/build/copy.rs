//! `COPY`, `ADD` and `WORKDIR`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use crate::driver::Builds;

#[test]
fn privileged_copy_directories_files_and_slashes() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "copy",
        &[
            (
                "Dockerfile",
                "FROM busybox\nRUN mkdir -p /there/sub && chmod 700 /there && echo old > /there/a && mkdir /real && ln -s /real /link\n\
                 COPY d /contents\nCOPY d/ /contents-slash/\nCOPY a /file\nCOPY a /into/\nCOPY a b /two/\n\
                 COPY d a /there\nCOPY a /link\nCOPY a /link/new/\nWORKDIR /work\nCOPY a .\nCOPY a rel/x\nCOPY ../../../a /rooted\nCOPY /a /slash\n",
            ),
            ("a", "A"),
            ("b", "B"),
            ("d/in", "IN"),
            ("d/sub/deep", "DEEP"),
            ("d/l", "-> in"),
            ("d/out", "-> /etc/shadow"),
        ],
    );
    let sh = |command: &str| builds.sh("copy", command);
    assert_eq!(
        sh("ls /contents /contents/sub"),
        "/contents:\nin\nl\nout\nsub\n\n/contents/sub:\ndeep\n"
    );
    assert_eq!(sh("ls /contents-slash"), "in\nl\nout\nsub\n");
    assert_eq!(sh("readlink /contents/l; readlink /contents/out"), "in\n/etc/shadow\n");
    assert_eq!(sh("cat /file /into/a /two/a /two/b"), "AAAB");
    assert_eq!(sh("cat /there/a /there/in /there/sub/deep"), "AINDEEP");
    assert_eq!(sh("stat -c %a /there"), "700\n", "a destination that is there keeps its mode");
    assert_eq!(sh("cat /real/a /real/new/a; test -L /link && echo link"), "AAlink\n");
    assert_eq!(sh("cat /work/a /work/rel/x /rooted /slash"), "AAAA");
    assert_eq!(sh("stat -c '%a %u %g' /into /two /work /work/rel"), "755 0 0\n".repeat(4));
    builds.finish();
}

#[test]
fn privileged_copy_keeps_modes_times_and_hard_links() {
    let Some(builds) = Builds::new() else { return };
    let root = builds.context(
        "modes",
        &[("Dockerfile", "FROM busybox\nCOPY d /d\nCOPY d/x /one\n"), ("d/x", "x"), ("d/e/", "")],
    );
    let file = root.join("d/x");
    fs::hard_link(&file, root.join("d/y")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("d/e"), fs::Permissions::from_mode(0o1770)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(&file).unwrap().set_modified(time).unwrap();
    builds.again("modes");
    let sh = |command: &str| builds.sh("modes", command);
    assert_eq!(sh("stat -c '%a %u %g %Y %h' /d/x"), "4751 0 0 1000000000 2\n");
    assert_eq!(sh("stat -c '%a %Y' /one; stat -c %a /d/e"), "4751 1000000000\n1770\n");
    assert_eq!(sh("[ $(stat -c %i /d/x) = $(stat -c %i /d/y) ] && echo same"), "same\n");
    builds.finish();
}

#[test]
fn privileged_chown_and_chmod() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "chown",
        &[
            (
                "Dockerfile",
                "FROM busybox\nCOPY --chown=www-data a /name\nCOPY --chown=www-data:staff a /both\n\
                 COPY --chown=7 a /number\nCOPY --chown=7:staff d /new/d\nCOPY --chmod=640 a /octal\n\
                 COPY --chmod=u=rwX,go=rX d /symbolic\nCOPY --chmod=4755 a /setuid\nCOPY --chown=33:50 --chmod=711 a /made/a\n",
            ),
            ("a", "A"),
            ("d/f", "F"),
        ],
    );
    let sh = |command: &str| builds.sh("chown", command);
    assert_eq!(sh("stat -c '%u %g' /name /both /number"), "33 33\n33 50\n7 7\n");
    assert_eq!(sh("stat -c '%u %g %a' /new/d /new/d/f"), "7 50 755\n7 50 644\n");
    assert_eq!(sh("stat -c %a /octal /symbolic /symbolic/f /setuid"), "640\n755\n644\n4755\n");
    assert_eq!(sh("stat -c '%u %g %a' /made /made/a"), "33 50 711\n33 50 711\n");
    for (owner, message) in
        [("nobody-here", "no user \"nobody-here\""), ("0:no-group", "no group \"no-group\"")]
    {
        let text = format!("FROM busybox\nCOPY --chown={owner} a /a\n");
        builds.fails("unknown", &[("Dockerfile", &text), ("a", "")], message);
    }
    builds.finish();
}

#[test]
fn privileged_copy_from_stages_and_images_keeps_owners() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "from",
        &[
            (
                "Dockerfile",
                "FROM busybox AS Made\nRUN mkdir -p /out/p && echo x > /out/f && chown 33:50 /out/f && chmod 750 /out && chown 5:5 /out && ln -s /out/f /link\n\
                 FROM busybox AS unused\nRUN exit 1\n\
                 FROM scratch AS third\nCOPY --from=made /out /copied\nCOPY --from=0 /out/f /by-index\nCOPY --from=busybox /etc/passwd /passwd\nCOPY --from=made /link /followed\n\
                 FROM third\nCOPY --from=busybox /bin /bin\n",
            ),
        ],
    );
    let sh = |command: &str| builds.sh("from", command);
    assert_eq!(sh("stat -c '%u %g %a' /copied/f /by-index /followed"), "33 50 644\n".repeat(3));
    assert_eq!(sh("stat -c '%u %g %a' /copied"), "0 0 755\n", "a directory that is made is root's");
    assert_eq!(sh("stat -c '%u %g %a' /copied/p"), "0 0 755\n");
    assert!(sh("cat /passwd").starts_with("root:"));
    builds.finish();
}

#[test]
fn privileged_wildcards_excludes_parents_and_links() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "wild",
        &[
            (
                "Dockerfile",
                "FROM busybox\nCOPY *.txt /txt/\nCOPY d/?.[a-c] /class/\nCOPY nothing* /none/\nCOPY [[]x].md /odd\n\
                 COPY --exclude=*.log --exclude=tmp d /ex\nCOPY --parents d/deep/x.a a.txt /par/\nCOPY --parents d/./deep/x.a /pivot/\n\
                 RUN mkdir /target && ln -s /target /dir-link\nCOPY --link a.txt /dir-link/a\nCOPY --link d /linked\nCOPY --link --chown=33 a.txt /owned/a\n",
            ),
            ("a.txt", "a"),
            ("b.txt", "b"),
            ("c.md", "c"),
            ("[x].md", "odd"),
            ("d/x.a", "1"),
            ("d/y.b", "2"),
            ("d/z.d", "3"),
            ("d/no.log", "log"),
            ("d/tmp/t", "t"),
            ("d/deep/x.a", "deep"),
        ],
    );
    let sh = |command: &str| builds.sh("wild", command);
    assert_eq!(sh("ls /txt /class"), "/class:\nx.a\ny.b\n\n/txt:\na.txt\nb.txt\n");
    assert_eq!(sh("test -e /none || echo none; cat /odd"), "none\nodd");
    assert_eq!(sh("cd /ex; find . | sort"), ".\n./deep\n./deep/x.a\n./x.a\n./y.b\n./z.d\n");
    assert_eq!(sh("cd /par; find . | sort"), ".\n./a.txt\n./d\n./d/deep\n./d/deep/x.a\n");
    assert_eq!(sh("cd /pivot; find . | sort"), ".\n./deep\n./deep/x.a\n");
    assert_eq!(sh("test -d /dir-link -a ! -L /dir-link && cat /dir-link/a; ls /target"), "a");
    assert_eq!(sh("cat /linked/deep/x.a; stat -c %u /owned /owned/a"), "deep33\n33\n");
    builds.finish();
}

#[test]
fn privileged_parents_with_stars_of_any_depth() {
    let Some(builds) = Builds::new() else { return };
    let root = builds.context(
        "deep",
        &[
            (
                "Dockerfile",
                "FROM busybox\nCOPY --parents ./x/**/*.txt /all/\nCOPY --parents x/*/./**/c.txt /pivot/\n\
                 COPY --parents --exclude=x/y/skip.txt ./**/y /named/\nCOPY --parents none/**/*.txt /none/\n",
            ),
            ("x/a.txt", "a"),
            ("x/y/b.txt", "b"),
            ("x/y/z/c.txt", "c"),
            ("x/y/z/d.md", "d"),
            ("x/y/skip.txt", "s"),
            ("other/y/e", "e"),
            ("x/link", "-> y"),
        ],
    );
    fs::set_permissions(root.join("x/y"), fs::Permissions::from_mode(0o750)).unwrap();
    builds.again("deep");
    let list = |at: &str| builds.sh("deep", &format!("cd {at} && find . ! -type d | sort"));
    assert_eq!(list("/all"), "./x/a.txt\n./x/y/b.txt\n./x/y/skip.txt\n./x/y/z/c.txt\n");
    assert_eq!(list("/pivot"), "./z/c.txt\n");
    assert_eq!(list("/named"), "./other/y/e\n./x/y/b.txt\n./x/y/z/c.txt\n./x/y/z/d.md\n");
    assert_eq!(
        builds.sh("deep", "stat -c %a /all/x/y /named/x/y; test -e /none || echo none"),
        "750\n750\nnone\n"
    );
    builds.fails(
        "deep2",
        &[("Dockerfile", "FROM busybox\nCOPY --parents x/./none /\n"), ("x/a", "")],
        "\"x/none\": not found",
    );
    builds.finish();
}

#[test]
fn privileged_what_is_in_the_way_of_a_copy() {
    let Some(builds) = Builds::new() else { return };
    let files: &[(&str, &str)] = &[("a", "A"), ("b", "B"), ("d/x", "X"), ("f/x/y", "Y")];
    let check = |step: &str, message: &str| {
        let text =
            format!("FROM busybox\nRUN mkdir -p /d/x /e && echo > /file && echo > /e/x\n{step}\n");
        let files = [files, &[("Dockerfile", text.as_str())]].concat();
        let failure = builds.fails("way", &files, message);
        assert_eq!(failure["lines"], serde_json::json!([3, 3]), "{failure:#}");
    };
    check("COPY d /d", "cannot copy a file to /d/x: a directory is there");
    check("COPY f /e", "cannot copy a directory to /e/x: something that is no directory is there");
    check("COPY d /file", "something that is no directory is there");
    let several = "more than one source file, the destination must be a directory and end with a /";
    check("COPY a b /nowhere", &format!("when using COPY with {several}: 2 files, \"/nowhere\""));
    check("ADD [ab] /file", &format!("when using ADD with {several}"));
    check("COPY a /file/", "cannot copy into /file/");
    check("COPY missing /x", "\"missing\": not found");
    builds.finish();
}

#[test]
fn privileged_add_unpacks_archives_and_copy_does_not() {
    let Some(builds) = Builds::new() else { return };
    let root = builds.context(
        "add",
        &[
            (
                "Dockerfile",
                "FROM busybox\nRUN mkdir -p /lib64 && ln -s lib64 /lib\nADD a.tar /un/\nADD a.tar.gz /gz/\nADD --unpack=false a.tar /kept.tar\nCOPY a.tar /copied/\n\
                 ADD plain.gz /plain/\nADD --chown=33:50 a.tar /owned/\nADD lib.tar /\nADD a.tar plain.txt /mixed/\n\
                 ADD a.tar.xz /xz/\nADD a.tbz /bz/\nADD plain.xz /plain/\n",
            ),
            ("plain.txt", "plain"),
            ("src/f", "F"),
            ("src/sub/g", "G"),
            ("l/lib/h", "H"),
        ],
    );
    let tar = |arguments: &[&str]| {
        let ended = std::process::Command::new("tar").args(arguments).current_dir(&root).status();
        assert!(ended.unwrap().success());
    };
    tar(&["--owner=7", "--group=8", "--numeric-owner", "-cf", "a.tar", "-C", "src", "."]);
    tar(&["-czf", "a.tar.gz", "-C", "src", "f"]);
    tar(&["-cf", "lib.tar", "-C", "l", "lib/h"]);
    let packed =
        std::process::Command::new("gzip").arg("-k").arg("plain.txt").current_dir(&root).status();
    assert!(packed.unwrap().success());
    fs::rename(root.join("plain.txt.gz"), root.join("plain.gz")).unwrap();
    let archive = fs::read(root.join("a.tar")).unwrap();
    fs::write(root.join("a.tar.xz"), hull_test_support::archive::xz(&archive)).unwrap();
    fs::write(root.join("a.tbz"), hull_test_support::archive::bzip2(&archive)).unwrap();
    fs::write(root.join("plain.xz"), hull_test_support::archive::xz(b"plain")).unwrap();
    builds.again("add");
    let sh = |command: &str| builds.sh("add", command);
    assert_eq!(sh("cat /xz/f /xz/sub/g /bz/sub/g; stat -c '%u %g' /xz/f /bz/f"), "FGG7 8\n7 8\n");
    assert_eq!(sh("cat /un/f /un/sub/g /gz/f; stat -c '%u %g' /un/f"), "FGF7 8\n");
    assert_eq!(
        sh("test -f /kept.tar && test -f /copied/a.tar && ls /plain"),
        "plain.gz\nplain.xz\n"
    );
    assert_eq!(sh("stat -c '%u %g' /owned/f"), "33 50\n");
    assert_eq!(sh("cat /lib64/h; test -L /lib && echo still"), "Hstill\n");
    assert_eq!(sh("cat /mixed/f /mixed/plain.txt"), "Fplain");
    builds.finish();
}

#[test]
fn privileged_heredocs_and_workdir() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "docs",
        &[(
            "Dockerfile",
            "FROM busybox\nENV V=value\nCOPY <<one <<\"two\" /docs/\nexpanded $V\none\nverbatim $V\ntwo\n\
             COPY --chmod=755 --chown=33 <<EOF /script\n#!/bin/sh\nEOF\n\
             USER www-data\nWORKDIR /srv\nWORKDIR a/../b/c\nUSER 0\nWORKDIR /tmp\n",
        )],
    );
    let sh = |command: &str| builds.sh("docs", command);
    assert_eq!(
        sh("cat /docs/one /docs/two; stat -c %a /docs/one"),
        "expanded value\nverbatim $V\n644\n"
    );
    assert_eq!(sh("stat -c '%a %u' /script"), "755 33\n");
    assert_eq!(sh("stat -c '%a %u %g' /srv /srv/b /srv/b/c"), "755 33 33\n".repeat(3));
    assert_eq!(sh("ls /srv"), "b\n");
    assert_eq!(builds.config("docs", "WorkingDir"), "\"/tmp\"");
    builds.finish();
}
