//! What comes with a build: Dockerfiles and what is beside and within them.

use hull_builder::ignore::Ignore;
use hull_builder::mode::Modes;
use hull_builder::plan::{Action, BaseImage, Options, Planner};
use hull_builder::remote::GitRemote;
use hull_builder::{Source, SourceError, parse};
use hull_oci::ImageConfig;

use super::{Target, Verdict, as_it_is, text, verdict};

pub(super) const DOCKERFILE: Target = Target {
    name: "dockerfile",
    check: dockerfile,
    repair: as_it_is,
    words: &[
        b"FROM ",
        b"RUN ",
        b"COPY ",
        b"ADD ",
        b"ARG ",
        b"ENV ",
        b"ONBUILD ",
        b"HEALTHCHECK CMD ",
        b"EXPOSE 0-65535",
        b" \\\n",
        b"\n",
        b"<<EOF",
        b"\nEOF\n",
        b"--mount=type=cache,target=/x ",
        b"--from=",
        b"${a:-",
        b"${a//",
        b"}",
        b"$",
        b"[\"",
        b"\"]",
        b"# escape=`\n",
        b"\xef\xbb\xbf",
    ],
};

pub(super) const DOCKERIGNORE: Target = Target {
    name: "dockerignore",
    check: dockerignore,
    repair: as_it_is,
    words: &[b"!", b"**", b"**/", b"*", b"/", b"\n", b"[a-z]", b"[^", b"\\", b"#", b".."],
};

pub(super) const GITMODULES: Target = Target {
    name: "gitmodules",
    check: gitmodules,
    repair: as_it_is,
    words: &[
        b"[submodule \"",
        b"\"]\n",
        b"path = ",
        b"url = ",
        b"../",
        b"./",
        b"..",
        b"\\",
        b"\"",
        b"#",
        b";",
        b"=",
        b"ext::",
        b"https://",
    ],
};

pub(super) const GIT_REMOTE: Target = Target {
    name: "git-remote",
    check: git_remote,
    repair: as_it_is,
    words: &[b"#", b"?", b"&", b"ref=", b"subdir=", b"../", b"--upload-pack=", b":", b"@", b".git"],
};

pub(super) const CHMOD: Target = Target {
    name: "chmod",
    check: chmod,
    repair: as_it_is,
    words: &[b"u+", b"go-", b"a=", b"rwX", b",", b"7777", b"st"],
};

/// Parsed and planned with every stage; what a plan promises its executor.
fn dockerfile(bytes: &[u8]) -> Verdict {
    let planned = parse(bytes).and_then(|file| {
        let options = Options { all_stages: true, ..Options::default() };
        let mut planner = Planner::new(&file, options)?;
        while let [wanted, ..] = planner.wanted().as_slice() {
            let config = ImageConfig::default();
            let image =
                BaseImage { config, resolved: String::new(), is_known: true, is_files: false };
            planner.supply(wanted.stage, image)?;
        }
        planner.finish()
    });
    if let Ok(plan) = &planned {
        for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
            assert!(step.lines.start >= 1 && step.lines.start <= step.lines.end);
            match &step.action {
                Action::Copy(copy) => {
                    assert!(
                        copy.destination.starts_with('/') && !copy.destination.contains("/../")
                    );
                }
                Action::Workdir(workdir) => {
                    assert!(workdir.path.starts_with('/') && workdir.path.len() > 1);
                }
                Action::Run(run) => assert!(run.cwd.starts_with('/') && !run.args.is_empty()),
                Action::Config => {}
            }
        }
    }
    if let Err(SourceError { message, .. }) = &planned {
        assert!(!message.contains('\n'), "a message of several lines: {message}");
    }
    if let Err(error) = &planned {
        let excerpt = error.excerpt("Dockerfile", &Source::new(bytes));
        assert!(!excerpt.contains('\u{1b}'), "an excerpt steers the terminal");
    }
    verdict(planned)
}

fn dockerignore(bytes: &[u8]) -> Verdict {
    let parsed = Ignore::parse(bytes);
    if let Ok(ignore) = &parsed {
        // A directory that need not be looked into holds nothing that is included.
        for (directory, file) in [("a", "a/b"), ("src", "src/main.rs"), ("x/y", "x/y/z")] {
            let mut level = ignore.root();
            for (end, _) in directory.match_indices('/') {
                level = level.child(&directory[..end]);
            }
            let level = level.child(directory);
            if level.is_excluded() && !level.may_include_below() {
                assert!(ignore.excludes(file), "{file} is lost");
            }
        }
    }
    verdict(parsed)
}

fn gitmodules(bytes: &[u8]) -> Verdict {
    let found = hull_git::addresses(bytes);
    for (index, (path, url)) in found.iter().enumerate() {
        assert!(found[..index].iter().all(|(before, _)| before != path), "{path:?} twice");
        if let Some(address) = hull_git::address_of_submodule("https://h/o/r.git", url)
            && (url.starts_with("./") || url.starts_with("../"))
        {
            assert!(address.starts_with("https://h"), "{url:?} leads to {address:?}");
            assert_eq!(address.split('/').nth(2), Some("h"), "{url:?} leads to {address:?}");
        }
    }
    if found.is_empty() { Verdict::Refused } else { Verdict::Accepted }
}

fn git_remote(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let parsed = GitRemote::parse(text);
    if let Ok(remote) = &parsed {
        let words = [Some(&remote.url), remote.reference.as_ref(), remote.checksum.as_ref()];
        assert!(words.into_iter().flatten().all(|word| !word.starts_with('-')), "an option of git");
    }
    verdict(parsed)
}

fn chmod(bytes: &[u8]) -> Verdict {
    let Some(text) = text(bytes) else { return Verdict::Refused };
    let parsed = text.parse::<Modes>();
    if let Ok(modes) = &parsed {
        for mode in [0, 0o644, 0o7777, u32::MAX] {
            assert!(modes.apply(mode, true) <= 0o7777 && modes.apply(mode, false) <= 0o7777);
        }
        assert_eq!(modes.to_string(), text);
    }
    verdict(parsed)
}
