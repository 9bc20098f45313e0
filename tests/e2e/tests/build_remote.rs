//! What a build fetches: files at addresses, git repositories, contexts that are elsewhere. The
//! servers are on loopback; git itself answers for the repositories.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hull_test_support::daemon::Daemon;
use hull_test_support::image::Image;
use hull_test_support::registry::{Answer, Request, ScriptedRegistry};
use hull_test_support::shelf::Shelf;
use hull_test_support::{Hull, eventually};
use rustix::process::{Pid, Signal};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A server of files, of a repository, and how often a pack was fetched from it.
struct Web {
    server: ScriptedRegistry,
    packs: Arc<AtomicUsize>,
    repository: PathBuf,
}

impl Web {
    fn start(hull: &Hull) -> Self {
        let repository = hull.folder().join("repository");
        fs::create_dir_all(repository.join("sub/deeper")).unwrap();
        git(&repository, &["init", "-q"], b"");
        commit(&repository, "sub/deeper/file", "first\n");
        let packs = Arc::new(AtomicUsize::new(0));
        let (counter, folder) = (Arc::clone(&packs), repository.clone());
        let server = ScriptedRegistry::start(move |request| answer(request, &folder, &counter));
        Self { server, packs, repository }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.server.address())
    }

    fn packs(&self) -> usize {
        self.packs.load(Ordering::Relaxed)
    }
}

fn answer(request: &Request, repository: &Path, packs: &AtomicUsize) -> Answer {
    let path = request.path();
    let named = |name: &'static str| Some((path.strip_prefix(&format!("/{name}.git"))?, name));
    if let Some((path, name)) = ["repository", "library", "inner"].into_iter().find_map(named) {
        let repository = &repository.with_file_name(name);
        let stateless = ["upload-pack", "--stateless-rpc", "."];
        return match path {
            "/info/refs" => {
                let words = ["upload-pack", "--http-backend-info-refs", "."];
                Answer::ok(git(repository, &words, b""))
            }
            _ => {
                if String::from_utf8_lossy(&request.body).contains("command=fetch") {
                    packs.fetch_add(1, Ordering::Relaxed);
                }
                Answer::ok(git(repository, &stateless, &request.body))
            }
        };
    }
    match path {
        "/file.txt" => Answer::ok("fetched\n").header("Last-Modified", MODIFIED),
        "/moved" => Answer::new(302).header("Location", "/file.txt"),
        "/named" => Answer::ok("x")
            .header("Content-Disposition", "attachment; filename=\"../../named.txt\""),
        "/slow" => Answer::ok(vec![b'x'; 4 << 20]).stall(1 << 20),
        "/archive.tar" => Answer::ok(tar("inside", "unpacked\n")),
        "/context.tar" => {
            Answer::ok(tar("Dockerfile", "FROM busybox\nCOPY Dockerfile /from-tar\n"))
        }
        "/Dockerfile" => Answer::ok("FROM busybox\nRUN echo remote > /made\n"),
        _ => Answer::new(404),
    }
}

/// A tar with one file in it.
fn tar(name: &str, content: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), content).unwrap();
    let output = Command::new("tar").arg("-C").arg(folder.path()).args(["-cf", "-", name]).output();
    output.unwrap().stdout
}

fn git(folder: &Path, words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"])
        .args(words)
        .env("GIT_PROTOCOL", "version=2")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {words:?}");
    output.stdout
}

fn commit(repository: &Path, name: &str, content: &str) -> String {
    fs::write(repository.join(name), content).unwrap();
    git(repository, &["add", "."], b"");
    git(repository, &["commit", "-qm", content], b"");
    String::from_utf8(git(repository, &["rev-parse", "HEAD"], b"")).unwrap().trim().to_owned()
}

/// A context with this Dockerfile.
fn context(hull: &Hull, dockerfile: &str) -> String {
    let folder = hull.folder().join("context");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    folder.to_str().unwrap().to_owned()
}

fn sh(hull: &Hull, command: &str) -> String {
    let output = hull.run(&["run", "--rm", "built", "sh", "-c", command]);
    assert_eq!(output.code, 0, "{command}: {output:?}");
    output.stdout
}

#[test]
fn privileged_files_at_addresses_are_added() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    let dockerfile = format!(
        "FROM busybox\nADD {} /a/\nADD {} /b/\nADD {} /c\nADD {} /d/\nADD --unpack {} /e/\n",
        web.url("file.txt"),
        web.url("named"),
        web.url("moved"),
        web.url("archive.tar"),
        web.url("archive.tar"),
    );
    hull.ok(&["build", "-t", "built", &context(&hull, &dockerfile)]);
    assert_eq!(sh(&hull, "cat /a/file.txt /c"), "fetched\nfetched\n");
    assert_eq!(sh(&hull, "stat -c '%a %u %Y' /a/file.txt"), "600 0 784111777\n");
    assert_eq!(sh(&hull, "ls /b /d /e"), "/b:\nnamed.txt\n\n/d:\narchive.tar\n\n/e:\ninside\n");
    hull.finish();
}

#[test]
fn privileged_checksums_of_added_files_are_verified() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    let right = hull_test_support::serve::digest("sha256", b"fetched\n");
    let wrong = hull_test_support::serve::digest("sha256", b"other\n");
    let dockerfile =
        |sum: &str| format!("FROM busybox\nADD --checksum={sum} {} /f\n", web.url("file.txt"));
    hull.ok(&["build", "-t", "built", &context(&hull, &dockerfile(&right))]);
    let before = web.server.requests().len();
    hull.ok(&["build", "-t", "built", &context(&hull, &dockerfile(&right))]);
    assert_eq!(web.server.requests().len(), before, "the checksum says what would come");
    let output = hull.run(&["build", "-t", "built", &context(&hull, &dockerfile(&wrong))]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains(&right) && output.stderr.contains(&wrong), "{output:?}");
    let missing = format!("FROM busybox\nADD {} /f\n", web.url("absent"));
    let output = hull.run(&["build", "-t", "built", &context(&hull, &missing)]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("404"), "{output:?}");
    hull.finish();
}

#[test]
fn privileged_a_repository_is_added_and_fetched_once() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    let dockerfile = format!("FROM busybox\nADD {}#main:sub /r/\n", web.url("repository.git"));
    hull.ok(&["build", "-t", "built", &context(&hull, &dockerfile)]);
    assert_eq!(sh(&hull, "cat /r/deeper/file"), "first\n");
    hull.ok(&["build", "-t", "built", &context(&hull, &dockerfile)]);
    assert_eq!(web.packs(), 1, "the same commit is not fetched again");
    let second = commit(&web.repository, "sub/deeper/file", "second\n");
    hull.ok(&["build", "-t", "built", &context(&hull, &dockerfile)]);
    assert_eq!(sh(&hull, "cat /r/deeper/file"), "second\n");
    assert_eq!(web.packs(), 2);

    let by_commit = format!("FROM busybox\nADD {}#{second} /r/\n", web.url("repository.git"));
    hull.ok(&["build", "-t", "built", &context(&hull, &by_commit)]);
    assert_eq!(sh(&hull, "cat /r/sub/deeper/file"), "second\n");
    hull.finish();
}

/// Git itself reads the repository that was kept, and finds nothing changed in it.
#[test]
fn privileged_git_directories_are_kept() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    std::os::unix::fs::symlink("deeper/file", web.repository.join("sub/link")).unwrap();
    commit(&web.repository, "sub.txt", &"line\n".repeat(1000));
    let last = commit(&web.repository, "sub-more.txt", &"line\n".repeat(1001));
    let url = web.url("repository.git");
    let dockerfile = format!(
        "FROM scratch\nADD --keep-git-dir {url}#main /all\nADD {url}?keep-git-dir=1 /asked\n\
         ADD --keep-git-dir {url}#main:sub /part\nADD {url} /plain\n"
    );
    let out = hull.folder().join("out");
    let local = format!("type=local,dest={}", out.display());
    hull.ok(&["build", "-o", &local, &context(&hull, &dockerfile)]);
    for kept in ["all", "asked"] {
        let kept = out.join(kept);
        let said = |words: &[&str]| {
            // Whose the folder is, is not what is asked here.
            let words = [&["-c", "safe.directory=*"], words].concat();
            String::from_utf8(git(&kept, &words, b"")).unwrap()
        };
        assert_eq!(said(&["rev-parse", "HEAD"]).trim(), last);
        assert_eq!(said(&["status", "--porcelain"]), "");
        assert!(said(&["log", "-1", "--format=%b%s"]).starts_with("line"));
        assert_eq!(said(&["rev-list", "--count", "HEAD"]), "1\n", "the history ends there");
        assert_eq!(said(&["remote", "get-url", "origin"]).trim(), url);
        said(&["fsck", "--strict"]);
        let index = fs::read_dir(kept.join(".git/objects/pack")).unwrap();
        let index = index.map(|entry| entry.unwrap().path());
        let index = index.into_iter().find(|path| path.extension().unwrap() == "idx").unwrap();
        said(&["verify-pack", index.to_str().unwrap()]);
        fs::write(kept.join("sub.txt"), "changed").unwrap();
        assert_eq!(said(&["status", "--porcelain"]), " M sub.txt\n");
        git(
            &kept,
            &["-c", "safe.directory=*", "fetch", "-q", &web.repository.to_string_lossy()],
            b"",
        );
    }
    assert!(!out.join("part/.git").exists() && out.join("part/deeper/file").exists());
    assert!(!out.join("plain/.git").exists());
    hull.finish();
}

/// CVE-2019-13139, CVE-2026-33748: references that are options, directories that lead away.
#[test]
fn privileged_repositories_that_are_refused() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    let url = web.url("repository.git");
    for (source, message) in [
        (format!("{url}#absent"), "has no branch or tag"),
        (format!("{url}#main:../../etc"), "leads out of the repository"),
        (format!("{url}#main:absent"), "has no directory"),
        (format!("{url}#--upload-pack=x"), "no part of a git URL"),
        ("git@example.invalid:a/b.git".to_owned(), "only http and https are spoken"),
        (web.url("absent.git"), "404"),
    ] {
        let dockerfile = format!("FROM busybox\nADD {source} /r/\n");
        let output = hull.run(&["build", "-t", "built", &context(&hull, &dockerfile)]);
        assert_ne!(output.code, 0, "{source}");
        assert!(output.stderr.contains(message), "{source}: {output:?}");
    }
    hull.finish();
}

#[test]
fn privileged_contexts_elsewhere() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    commit(&web.repository, "Dockerfile", "FROM busybox\nCOPY sub /from-git\n");
    hull.ok(&["build", "-t", "built", &web.url("repository.git")]);
    assert_eq!(sh(&hull, "cat /from-git/deeper/file"), "first\n");
    hull.ok(&["build", "-t", "built", &web.url("context.tar")]);
    assert_eq!(sh(&hull, "head -n 1 /from-tar"), "FROM busybox\n");
    hull.ok(&["build", "-t", "built", &web.url("Dockerfile")]);
    assert_eq!(sh(&hull, "cat /made"), "remote\n");
    hull.finish();
}

/// Puts a commit of another repository into one, with what its `.gitmodules` says.
fn submodule(repository: &Path, path: &str, commit_there: &str, modules: &str) {
    fs::write(repository.join(".gitmodules"), modules).unwrap();
    let entry = format!("160000,{commit_there},{path}");
    git(repository, &["update-index", "--add", "--cacheinfo", &entry], b"");
    git(repository, &["add", ".gitmodules"], b"");
    git(repository, &["commit", "-qm", "a submodule"], b"");
}

#[test]
fn privileged_submodules_are_checked_out() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    let beside = |name: &str| web.repository.with_file_name(name);
    for name in ["library", "inner"] {
        fs::create_dir_all(beside(name)).unwrap();
        git(&beside(name), &["init", "-q"], b"");
    }
    let inner = commit(&beside("inner"), "deepest", "inner\n");
    commit(&beside("library"), "code", "library\n");
    let modules = format!("[submodule \"i\"]\n\tpath = a/i\n\turl = {}\n", web.url("inner.git"));
    submodule(&beside("library"), "a/i", &inner, &modules);
    let library = git(&beside("library"), &["rev-parse", "HEAD"], b"");
    let library = String::from_utf8(library).unwrap();
    let relative = "[submodule \"l\"]\n\tpath = sub/lib\n\turl = ../library.git\n";
    submodule(&web.repository, "sub/lib", library.trim(), relative);

    let url = web.url("repository.git");
    let dockerfile = format!(
        "FROM busybox\nADD {url}#main /all/\nADD {url}#main:sub /part/\nADD {url}?ref=main&submodules=false /none/\n\
         ADD --keep-git-dir {url}#main /kept/\n"
    );
    hull.ok(&["build", "-t", "built", &context(&hull, &dockerfile)]);
    let read = "cat /all/sub/lib/code /all/sub/lib/a/i/deepest /part/lib/code; ls -A /none/sub/lib";
    assert_eq!(sh(&hull, read), "library\ninner\nlibrary\n");

    let read = "cat /kept/.git/HEAD /kept/sub/lib/.git/HEAD /kept/sub/lib/a/i/.git/HEAD";
    let head = String::from_utf8(git(&web.repository, &["rev-parse", "HEAD"], b"")).unwrap();
    assert_eq!(sh(&hull, read), format!("{head}{library}{inner}\n"));

    for (modules, message) in [
        ("", "the submodule sub/lib of"),
        (
            "[submodule \"l\"]\npath = sub/lib\nurl = git@h:x/y.git\n",
            "only http and https are spoken",
        ),
        ("[submodule \"l\"]\npath = sub/lib\nurl = ../../../../x\n", "which leads nowhere"),
        ("[submodule \"l\"]\npath = sub/lib\nurl = ../absent.git\n", "404"),
        (
            "[submodule \"l\"]\npath = sub/lib\nurl = ext::sh -c x\n",
            "only http and https are spoken",
        ),
    ] {
        submodule(&web.repository, "sub/lib", library.trim(), modules);
        let dockerfile = format!("FROM busybox\nADD {url}#main /r/\n");
        let output = hull.run(&["build", "-t", "built", &context(&hull, &dockerfile)]);
        assert_ne!(output.code, 0, "{modules}");
        assert!(output.stderr.contains(message), "{modules}: {}", output.stderr);
    }
    hull.finish();
}

#[test]
fn privileged_named_contexts_elsewhere() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    let dockerfile = "FROM code AS sources\nFROM busybox\nCOPY --from=sources / /all/\n\
                      COPY --from=code sub/deeper /some\nCOPY --from=file / /fetched/\n";
    let code = format!("code={}#main", web.url("repository.git"));
    let file = format!("file={}", web.url("archive.tar"));
    let context = context(&hull, dockerfile);
    let build =
        ["build", "-t", "built", "--build-context", &code, "--build-context", &file, &context];
    hull.ok(&build);
    assert_eq!(sh(&hull, "cat /all/sub/deeper/file /some/file"), "first\nfirst\n");
    assert_eq!(sh(&hull, "ls -A /fetched"), "context\n", "a file is not unpacked");
    assert_eq!(web.packs(), 1, "two steps use it");
    let missing = format!("code={}", web.url("absent.git"));
    let output = hull.run(&["build", "--build-context", &missing, &context]);
    assert_ne!(output.code, 0);
    assert!(
        output.stderr.contains("build context code") && output.stderr.contains("404"),
        "{output:?}"
    );
    hull.finish();
}

#[test]
fn privileged_proxies_of_the_configuration_reach_run_and_no_image() {
    let Some(hull) = Hull::with_busybox() else { return };
    fs::create_dir(hull.folder().join(".docker")).unwrap();
    let config =
        r#"{"proxies":{"default":{"httpProxy":"http://proxy.test:3128","noProxy":"own.test"}}}"#;
    hull.file(".docker/config.json", config.as_bytes());
    let dockerfile = "FROM busybox\nRUN echo $HTTP_PROXY $http_proxy $no_proxy > /seen\n";
    let context = context(&hull, dockerfile);
    hull.ok(&["build", "-t", "built", &context]);
    assert_eq!(sh(&hull, "cat /seen"), "http://proxy.test:3128 http://proxy.test:3128 own.test\n");
    let said =
        hull.ok(&["image", "inspect", "built"]) + &hull.ok(&["history", "--no-trunc", "built"]);
    assert!(!said.contains("proxy.test"), "{said}");
    hull.ok(&["build", "--no-cache", "--build-arg", "HTTP_PROXY=mine", "-t", "built", &context]);
    assert!(sh(&hull, "cat /seen").starts_with("mine http://proxy.test:3128"));
    hull.finish();
}

#[test]
fn privileged_pull_asks_for_newer_bases() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let base = |version: &str| Image::new().set("Labels", serde_json::json!({"version": version}));
    shelf.image("app", "1", &base("old"));
    let registry = shelf.serve();
    let dockerfile = format!("FROM {}/app:1\nCOPY Dockerfile /\n", registry.address());
    let context = context(&hull, &dockerfile);
    let built = |options: &[&str]| {
        hull.ok(&[&["build", "-t", "built"], options, &[&context]].concat());
        hull.ok(&["image", "inspect", "--format", "{{.Config.Labels.version}}", "built"])
    };
    assert_eq!(built(&[]), "old");
    shelf.image("app", "1", &base("new"));
    let before = registry.requests().len();
    assert_eq!(built(&[]), "old", "one that is here is taken");
    assert_eq!(registry.requests().len(), before, "nobody is asked");
    assert_eq!(built(&["--pull"]), "new");
    assert_eq!(built(&[]), "new");
    hull.finish();
}

/// The processes that a process has started and that have not ended.
fn children(pid: Pid) -> Vec<String> {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let ids = fs::read_dir(tasks)
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
    let ids: Vec<String> =
        ids.flat_map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    ids.iter().filter_map(|id| fs::read_to_string(format!("/proc/{id}/comm")).ok()).collect()
}

#[test]
fn privileged_an_interrupt_ends_a_build_that_downloads() {
    let Some(hull) = Hull::with_busybox() else { return };
    let web = Web::start(&hull);
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    for source in ["ADD", "FROM"] {
        let dockerfile = match source {
            "ADD" => format!("FROM busybox\nADD {} /f\n", web.url("slow")),
            _ => "FROM other\n".to_owned(),
        };
        let context = context(&hull, &dockerfile);
        let other = format!("other={}", web.url("slow"));
        for at in [&[][..], &["--host", &host]] {
            let before = web.server.requests().len();
            let words =
                [at, &["build", "-t", "never", "--build-context", &other, &context]].concat();
            let mut child = hull.command(&words).stderr(Stdio::null()).spawn().unwrap();
            let asked = || web.server.requests().len() > before;
            assert!(eventually(Duration::from_secs(20), asked), "{words:?}");
            rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            let ended = eventually(Duration::from_secs(10), || child.try_wait().unwrap().is_some());
            assert!(ended, "{words:?}");
            assert_eq!(child.wait().unwrap().code(), Some(130));
            let is_idle = || children(daemon.pid()).is_empty();
            assert!(eventually(Duration::from_secs(10), is_idle), "{:?}", children(daemon.pid()));
        }
    }
    assert_eq!(hull.run(&["image", "inspect", "never"]).code, 1);
    assert_eq!(daemon.stop(), Some(0));
    assert!(hull.ok(&["system", "check"]).contains("no problems"));
    // Leases of processes that are gone hold nothing.
    hull.ok(&["system", "prune", "-f"]);
    hull.finish();
}
