//! `build`: what is said of a Dockerfile without an engine, what is sent to one, what is shown.

use std::path::Path;
use std::process::{Output, Stdio};

use hull_api::build::{BuildRequest, Context};

use crate::engine::{Answer, Engine};
use crate::{check, hull};

const HULL: &str = r#"{"Platform":{"Name":"Hull"},"Version":"0","ApiVersion":"1.51"}"#;
const DOCKER: &str =
    r#"{"Platform":{"Name":"Docker Engine - Community"},"Version":"28","ApiVersion":"1.51"}"#;

/// A build of two steps; the second writes a line.
const BUILT: &str = r#"{"status":{"vertexes":[{"digest":"a","name":"[1/2] FROM base","started":"2026-01-01T00:00:00Z","completed":"2026-01-01T00:00:00Z","cached":true}]}}
{"status":{"vertexes":[{"digest":"b","name":"[2/2] RUN make","started":"2026-01-01T00:00:00Z"}],"logs":[{"vertex":"b","stream":1,"data":"bWFkZQo=","timestamp":"2026-01-01T00:00:01.5Z"}]}}
{"status":{"vertexes":[{"digest":"b","name":"[2/2] RUN make","started":"2026-01-01T00:00:00Z","completed":"2026-01-01T00:00:02Z"}]}}
{"result":{"image_id":"sha256:abc","digest":"sha256:def","names":["x:latest"],"metadata":{"containerimage.digest":"sha256:def"}}}
"#;

/// A folder with these files, and Hull run in it.
fn in_folder(files: &[(&str, &str)], words: &[&str]) -> (tempfile::TempDir, Output) {
    let folder = folder(files);
    let output = hull().current_dir(folder.path()).args(words).output().unwrap();
    (folder, output)
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn against(engine: &Engine, at: &Path, words: &[&str]) -> Output {
    hull().current_dir(at).arg("--host").arg(engine.address()).args(words).output().unwrap()
}

#[test]
fn a_check_needs_no_engine() {
    let (_folder, output) =
        in_folder(&[("Dockerfile", "FROM base\nCMD [\"x\"]\n")], &["build", "--check", "."]);
    check(&output, 0, "Check complete, no warnings found.\n", "");
    let (_folder, output) =
        in_folder(&[("Dockerfile", "FROM base AS Big\nENV a b\n")], &["build", "--check", "."]);
    let text = "Check complete, 2 warnings have been found!

WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
Stage name 'Big' should be lowercase
Dockerfile:1
--------------------
   1 | >>> FROM base AS Big
   2 |     ENV a b
--------------------

WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/
\"ENV key=value\" should be used instead of legacy \"ENV key value\" format
Dockerfile:2
--------------------
   1 |     FROM base AS Big
   2 | >>> ENV a b
   3 |
--------------------
";
    check(&output, 1, text, "");
    let files = [("Dockerfile", "FROM base\nCOPY a /\nRUNN x\n")];
    let (_folder, output) = in_folder(&files, &["build", "--check", "."]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("ERROR: line 3: unknown instruction: RUNN (did you mean RUN?)"),
        "{text}"
    );
    assert!(text.contains("   3 | >>> RUNN x\n     |     ^\n"), "{text}");
    let files = [("Dockerfile", "FROM base\nCOPY a /\n"), (".dockerignore", "a\n"), ("a", "")];
    let (_folder, output) = in_folder(&files, &["build", "--call=check,format=json", "."]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["warnings"][0]["ruleName"], "CopyIgnoredFile");
    assert_eq!(json["warnings"][0]["location"]["ranges"][0]["start"]["line"], 2);
}

#[test]
fn outlines_and_targets() {
    let text = "# version of what is built\nARG version=1\n# build builds it\nFROM base:$version AS build\nARG flags=-O2\nRUN --mount=type=secret,id=key,required --mount=type=ssh x\n# final is small\nFROM scratch AS final\nCOPY --from=build /x /\n";
    let (_folder, output) = in_folder(&[("Dockerfile", text)], &["build", "--call=targets", "."]);
    check(
        &output,
        0,
        "TARGET            DESCRIPTION\nbuild             builds it\nfinal (default)   is small\n",
        "",
    );
    let words = ["buildx", "build", "--call", "outline", "--build-arg", "flags=-O3", "."];
    let (_folder, output) = in_folder(&[("Dockerfile", text)], &words);
    check(
        &output,
        0,
        "TARGET:      final\nDESCRIPTION: is small\n\nBUILD ARG   VALUE   DESCRIPTION\nversion     1       of what is built\nflags       -O3     \n\nSECRET   REQUIRED\nkey      true\n\nSSH       REQUIRED\ndefault   \n\n",
        "",
    );
    let words = ["build", "--call=outline,format=json", "--target=build", "."];
    let (_folder, output) = in_folder(&[("Dockerfile", text)], &words);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (json["name"].as_str(), json["args"][1]["name"].as_str()),
        (Some("build"), Some("flags"))
    );
}

#[test]
fn a_directory_goes_to_a_daemon_as_a_tar() {
    let engine = Engine::new(vec![
        ("GET", "/version", Answer::json(200, HULL)),
        ("POST", "/hull/build", Answer::json(200, BUILT)),
    ]);
    let folder = folder(&[
        ("Dockerfile", "FROM base\nRUN make\n"),
        (".dockerignore", "secret\n"),
        ("src/main.c", "int main;"),
        ("secret", "hidden words"),
    ]);
    let words = [
        "build",
        "-t",
        "x",
        "--iidfile",
        "id",
        "--metadata-file",
        "meta",
        "--build-arg",
        "a=b",
        ".",
    ];
    let output = against(&engine, folder.path(), &words);
    check(
        &output,
        0,
        "",
        "#1 [1/2] FROM base\n#1 CACHED\n\n#2 [2/2] RUN make\n#2 1.500 made\n#2 DONE 2.0s\n",
    );
    assert_eq!(std::fs::read_to_string(folder.path().join("id")).unwrap(), "sha256:abc");
    let metadata = std::fs::read_to_string(folder.path().join("meta")).unwrap();
    assert!(metadata.contains("\"containerimage.digest\": \"sha256:def\""));
    let request = engine.requests().pop().unwrap();
    assert_eq!(request.target, "/v1.51/hull/build");
    let end = request.body.iter().position(|byte| *byte == b'\n').unwrap();
    let asked: BuildRequest = serde_json::from_slice(&request.body[..end]).unwrap();
    assert_eq!((asked.context, asked.tags), (Context::Stream, vec!["x".to_owned()]));
    assert_eq!(asked.dockerfile_text.as_deref(), Some("FROM base\nRUN make\n"));
    assert_eq!(asked.ignore_text.as_deref(), Some("secret\n"));
    let tar = String::from_utf8_lossy(&request.body[end..]).into_owned();
    assert!(tar.contains("int main;") && !tar.contains("hidden words"));
}

#[test]
fn displays() {
    let engine = Engine::new(vec![
        ("GET", "/version", Answer::json(200, HULL)),
        ("POST", "/hull/build", Answer::json(200, BUILT)),
    ]);
    let folder = folder(&[("Dockerfile", "FROM base\n")]);
    check(&against(&engine, folder.path(), &["build", "-q", "."]), 0, "sha256:abc\n", "");
    check(&against(&engine, folder.path(), &["build", "--progress=quiet", "."]), 0, "", "");
    let output = against(&engine, folder.path(), &["build", "--progress=rawjson", "."]);
    let lines = String::from_utf8(output.stderr).unwrap();
    assert_eq!(lines.lines().count(), 3);
    assert!(
        lines.starts_with(r#"{"vertexes":[{"digest":"a","name":"[1/2] FROM base","#),
        "{lines}"
    );
    let output = against(&engine, folder.path(), &["build", "--progress=nope", "."]);
    check(
        &output,
        1,
        "",
        "hull: invalid progress mode nope: it is auto, plain, tty, quiet or rawjson\n",
    );
}

#[test]
fn a_failing_step_is_shown_with_its_output_and_line() {
    let failure = concat!(
        r#"{"error":{"message":"process \"/bin/sh -c false\" did not complete successfully: exit code: 1","#,
        r#""kind":"invalid","exit_code":1,"step":"[2/2] RUN false","lines":[2,2],"#,
        r#""excerpt":"Dockerfile:2\n--------------------\n   2 | >>> RUN false\n--------------------\n","#,
        r#""output":["0.100 last words"]}}"#,
        "\n"
    );
    let engine = Engine::new(vec![
        ("GET", "/version", Answer::json(200, HULL)),
        ("POST", "/hull/build", Answer::json(200, failure)),
    ]);
    let folder = folder(&[("Dockerfile", "FROM base\nRUN false\n")]);
    check(
        &against(&engine, folder.path(), &["build", "."]),
        1,
        "",
        "------\n > [2/2] RUN false:\n0.100 last words\n------\nDockerfile:2\n--------------------\n   2 | >>> RUN false\n--------------------\nhull: process \"/bin/sh -c false\" did not complete successfully: exit code: 1\n",
    );
    let engine = Engine::new(vec![
        ("GET", "/version", Answer::json(200, HULL)),
        ("POST", "/hull/build", Answer::json(200, "")),
    ]);
    let output = against(&engine, folder.path(), &["build", "."]);
    check(&output, 1, "", "hull: the engine hung up before the build was done\n");
}

#[test]
fn a_dockerfile_from_stdin_has_no_files() {
    let engine = Engine::new(vec![
        ("GET", "/version", Answer::json(200, HULL)),
        ("POST", "/hull/build", Answer::json(200, BUILT)),
    ]);
    let folder = folder(&[]);
    let mut child = hull()
        .current_dir(folder.path())
        .args(["--host", &engine.address(), "build", "-q", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"FROM scratch\n").unwrap();
    check(&child.wait_with_output().unwrap(), 0, "sha256:abc\n", "");
    let body = engine.requests().pop().unwrap().body;
    let asked: BuildRequest = serde_json::from_slice(&body).unwrap();
    assert_eq!(asked.context, Context::None);
    assert_eq!(asked.dockerfile_text.as_deref(), Some("FROM scratch\n"));
}

#[test]
fn another_engine_builds_in_its_own_way() {
    let stream = concat!(
        "{\"stream\":\"Step 1/1 : FROM scratch\"}\n{\"stream\":\"\\n\"}\n",
        "{\"aux\":{\"ID\":\"sha256:1234\"}}\n{\"stream\":\"Successfully built 1234\\n\"}\n"
    );
    let engine = Engine::new(vec![
        ("GET", "/version", Answer::json(200, DOCKER)),
        ("POST", "/build", Answer::json(200, stream)),
    ]);
    let folder = folder(&[("Dockerfile", "FROM scratch\n"), ("f", "content of f")]);
    let output = against(&engine, folder.path(), &["build", "-t", "x:1", "--target=t", "."]);
    check(&output, 0, "Step 1/1 : FROM scratch\nSuccessfully built 1234\n", "");
    let request = engine.requests().pop().unwrap();
    assert!(
        request
            .target
            .contains("/build?version=1&rm=1&dockerfile=.hull-build.dockerfile&t=x%3A1&target=t")
    );
    assert_eq!(request.header("content-type"), "application/x-tar");
    let tar = String::from_utf8_lossy(&request.body).into_owned();
    assert!(tar.contains("content of f") && tar.contains("FROM scratch"));
    check(&against(&engine, folder.path(), &["build", "-q", "."]), 0, "sha256:1234\n", "");
    let output = against(&engine, folder.path(), &["build", "--secret", "id=PATH", "."]);
    assert_eq!(output.status.code(), Some(1));
    let output = against(&engine, folder.path(), &["build", "-o", "out", "."]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--output is for builds by Hull's engine"), "{said}");
}

#[test]
fn what_cannot_be_built() {
    let engine = Engine::new(vec![("GET", "/version", Answer::json(200, HULL))]);
    let folder = folder(&[("f", "")]);
    let said = |words: &[&str]| {
        let output = against(&engine, folder.path(), words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["build"]).contains("\"hull build\" requires 1 argument"));
    assert!(said(&["build", "."]).contains("failed to read dockerfile: cannot open ./Dockerfile"));
    assert!(said(&["build", "no/such"]).contains("path \"no/such\" not found"));
    assert!(said(&["build", "f"]).contains("f is no directory"));
    assert!(said(&["build", "-f", "-", "-"]).contains("both build context and dockerfile"));
    assert!(said(&["build", "-o", "type=what", "."]).contains("is not known"));
}

#[test]
fn pruning_the_cache() {
    let pruned = r#"{"CachesDeleted":["abc"],"SpaceReclaimed":2000000}"#;
    let engine = Engine::new(vec![("POST", "/build/prune", Answer::json(200, pruned))]);
    let words = ["builder", "prune", "-a", "-f", "--keep-storage", "1k"];
    let output = against(&engine, Path::new("/"), &words);
    check(&output, 0, "Deleted build cache objects:\nabc\n\nTotal reclaimed space: 2MB\n", "");
    let request = engine.requests().pop().unwrap();
    assert!(request.target.ends_with("/build/prune?all=1&keep-storage=1024"), "{}", request.target);
}
