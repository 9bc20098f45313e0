use super::*;
use crate::instruction::{CommandLine, Copy, Heredoc, Network, Run, Security};

#[track_caller]
fn parsed(text: &str) -> Dockerfile {
    match parse(text.as_bytes()) {
        Ok(dockerfile) => dockerfile,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// The instructions of a file's only stage.
#[track_caller]
fn instructions(text: &str) -> Vec<Instruction> {
    let file = parsed(&format!("FROM scratch\n{text}\n"));
    assert_eq!(file.stages.len(), 1);
    file.stages.into_iter().flat_map(|stage| stage.statements).map(|one| one.instruction).collect()
}

#[track_caller]
fn only(text: &str) -> Instruction {
    let mut all = instructions(text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[track_caller]
fn run(text: &str) -> Run {
    match only(text) {
        Instruction::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn copy(text: &str) -> Copy {
    match only(text) {
        Instruction::Copy(copy) | Instruction::Add(copy) => copy,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(text: &str, message: &str) -> SourceError {
    let error = parse(text.as_bytes()).expect_err(text);
    assert!(error.to_string().contains(message), "{text:?}: {error}");
    error
}

fn shell(text: &str) -> CommandLine {
    CommandLine::Shell(text.to_owned())
}

fn exec(words: &[&str]) -> CommandLine {
    CommandLine::Exec(words.iter().map(|word| (*word).to_owned()).collect())
}

// 1 of the semantics in the notes: directives.
#[test]
fn directives_stand_at_the_very_top() {
    let file = parsed("# syntax=docker/dockerfile:1\n# Escape=`\n#check=skip=all\nFROM a\n");
    assert_eq!(file.directives.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.directives.check.as_deref(), Some("skip=all"));
    for first in ["\n", "# a comment\n", "# unknown=x\n", "FROM a\n"] {
        let file = parsed(&format!("{first}# escape=`\nFROM b\nRUN x \\\n y\n"));
        assert_eq!(file.directives.escape, '\\', "{first:?}");
    }
    refused("# escape=`\n# escape=\\\nFROM a", "only one escape parser directive");
    refused("# escape=x\nFROM a", "invalid escape token");
}

// 2: marks, ends of lines, continuations, comments.
#[test]
fn lines_are_joined() {
    let file = parsed("\u{feff}FROM a\r\nRUN one \\\r\n  two\r\n");
    assert_eq!(file.stages[0].base, "a");
    assert_eq!(run("RUN one \\\n  two").command, shell("one   two"));
    assert_eq!(run("RUN one \\  \t\n# no\n  # neither\n\ntwo").command, shell("one two"));
    assert_eq!(run("   RUN   one   ").command, shell("one"));
    assert_eq!(run("RUN one\\").command, shell("one"));
    assert_eq!(instructions("RUN one \\\\\nUSER two").len(), 2);
    assert_eq!(run("\\\nRUN \\\n one").command, shell("one"));
    let file = parsed("FROM a\nRUN x \\\n\n\n y\n");
    assert_eq!(file.empty_continuations, [Lines { start: 2, end: 5 }]);
    assert_eq!(file.stages[0].statements[0].lines, Lines { start: 2, end: 5 });
    let file = parsed("# escape=`\nFROM a\nRUN dir c:\\\\`\n x\n");
    assert_eq!(file.stages[0].statements[0].text, "RUN dir c:\\\\ x");
}

#[test]
fn comments_above_are_kept() {
    let file = parsed(
        "# base the base\nFROM a AS base\n# gone\n\n# x what x is\n# check=skip=all\nARG x\n",
    );
    assert_eq!(file.stages[0].comments, ["base the base"]);
    let statement = &file.stages[0].statements[0];
    assert_eq!(statement.comments, ["x what x is", "check=skip=all"]);
    let Instruction::Arg(arguments) = &statement.instruction else { panic!() };
    assert_eq!(arguments[0].description.as_deref(), Some("what x is"));
}

// 3: JSON.
#[test]
fn json_or_shell() {
    assert_eq!(run(r#"RUN ["a", "b c"]"#).command, exec(&["a", "b c"]));
    assert_eq!(run("RUN ['a']").command, shell("['a']"));
    assert_eq!(run(r#"RUN ["a"] b"#).command, shell(r#"["a"] b"#));
    assert_eq!(run("RUN [ -f x ] && y").command, shell("[ -f x ] && y"));
    assert_eq!(only("CMD []"), Instruction::Cmd(exec(&[])));
    assert_eq!(only("ENTRYPOINT []"), Instruction::Entrypoint(exec(&[])));
    assert_eq!(
        only(r#"VOLUME ["/a b", "/c"]"#),
        Instruction::Volume(vec!["/a b".into(), "/c".into()])
    );
    assert_eq!(only("VOLUME /a /b"), Instruction::Volume(vec!["/a".into(), "/b".into()]));
    assert_eq!(copy(r#"COPY ["a b", "c", "/d/"]"#).sources, ["a b", "c"]);
    assert_eq!(only(r#"SHELL ["sh", "-c"]"#), Instruction::Shell(vec!["sh".into(), "-c".into()]));
    refused("FROM a\nRUN [\"a\", 1]", "comprised of strings only");
    refused("FROM a\nSHELL sh -c", "SHELL requires the arguments to be in JSON form");
    refused("FROM a\nSHELL []", "at least one argument");
}

fn heredoc(name: &str, data: &str) -> Heredoc {
    let (name, data) = (name.to_owned(), data.to_owned());
    Heredoc { name, data, expand: true, chomp: false, descriptor: None }
}

// 4: heredocs.
#[test]
fn heredocs() {
    assert_eq!(run("RUN <<EOF\na\n # b\n\nEOF").heredocs, [heredoc("EOF", "a\n # b\n\n")]);
    let tabs = run("RUN <<-EOF\n\ta\n\t\tb\n\tEOF").heredocs;
    assert_eq!(tabs, [Heredoc { chomp: true, ..heredoc("EOF", "\ta\n\t\tb\n") }]);
    assert_eq!(chomp(&tabs[0].data), "a\nb\n");
    for quoted in ["<<'EOF'", "<<\"EOF\"", "<<E\"O\"F", "<<-'EOF'"] {
        let heredocs = copy(&format!("COPY {quoted} /x\n$a\nEOF")).heredocs;
        assert!(!heredocs[0].expand && heredocs[0].name == "EOF", "{quoted}");
    }
    let several = copy("COPY <<one <<two /dir/\n1\none\n2\ntwo");
    assert_eq!(several.heredocs, [heredoc("one", "1\n"), heredoc("two", "2\n")]);
    assert_eq!(several.sources, ["<<one", "<<two"]);
    let numbered = run("RUN cat 3<<EOF\nx\nEOF").heredocs;
    assert_eq!(numbered[0].descriptor, Some(3));
    let mixed = run("RUN a <<A && b <<B\n1\nA\n2\nB\n");
    assert_eq!(mixed.command, shell("a <<A && b <<B"));
    assert_eq!(mixed.heredocs.len(), 2);
    // What is no heredoc.
    for none in [
        "RUN echo $((1 << 2))",
        "RUN echo \"<<EOF\" '<<EOF'",
        "RUN [\"<<EOF\"]",
        "RUN cat <<<word",
        "ENV a=<<EOF",
    ] {
        assert_eq!(instructions(none).len(), 1, "{none}");
    }
    let file = parsed("FROM a\nRUN <<EOF\nx\nEOF\nUSER u\n");
    assert_eq!(file.stages[0].statements[0].lines, Lines { start: 2, end: 4 });
    assert_eq!(file.stages[0].statements[1].lines, Lines::one(5));
    // Comments and continuations mean nothing in a body.
    assert_eq!(run("RUN <<EOF\n# x\ny \\\nz\nEOF").heredocs[0].data, "# x\ny \\\nz\n");
    let error = refused("FROM a\nRUN <<EOF\nx\nEOF \n", "unterminated heredoc");
    assert_eq!(error.place, Some(crate::Place { line: 2, column: 4 }));
    refused("FROM a\nCOPY a <<EOF\nx\nEOF\n", "heredoc as a destination");
}

// 6: stages.
#[test]
fn stages_and_their_names() {
    let file =
        parsed("FROM --platform=linux/arm64 a:1 as Build\nRUN x\nfrom Build\nFROM b AS build\n");
    assert_eq!(file.stages.len(), 3);
    assert_eq!(file.stages[0].name.as_deref(), Some("build"));
    assert_eq!(file.stages[0].written_name.as_deref(), Some("Build"));
    assert_eq!(file.stages[0].platform.as_deref(), Some("linux/arm64"));
    assert_eq!((file.stages[1].base.as_str(), file.stages[1].keyword.as_str()), ("Build", "from"));
    for bad in ["FROM a AS 1b", "FROM a AS b/c", "FROM a AS $x", "FROM a AS é"] {
        refused(bad, "invalid name for build stage");
    }
    for bad in ["FROM", "FROM a b", "FROM a AS", "FROM a AS b c", "FROM a IS b"] {
        refused(bad, "either one or three arguments");
    }
    refused("RUN x", "no build stage in current context");
    refused("ARG x", "no stages");
    refused("", "cannot be empty");
    refused("# only a comment\n", "no instructions");
}

// 7: flags.
#[test]
fn flags_stand_before_arguments() {
    let one = copy(
        "COPY --from=x --chown='a b':c --chmod=u=rwX --link --parents --exclude=a --exclude=b s /d",
    );
    assert_eq!(one.chown.as_deref(), Some("a b:c"));
    assert_eq!((one.from.as_deref(), one.chmod.as_deref()), (Some("x"), Some("u=rwX")));
    assert!(one.link && one.parents);
    assert_eq!(one.exclude, ["a", "b"]);
    assert!(copy("COPY --link=true s d").link);
    assert!(!copy("COPY --link=FALSE s d").link);
    assert_eq!(copy("COPY s --from=x").destination, "--from=x");
    assert_eq!(copy("COPY -- --a d").sources, ["--a"]);
    let add = copy("ADD --keep-git-dir --checksum=sha256:0 --unpack=false s d");
    assert_eq!((add.keep_git_dir, add.unpack), (Some(true), Some(false)));
    let run = run(
        "RUN --network=none --security=insecure --mount=type=cache,target=/x --mount=target=/y --device=v/c=d x",
    );
    assert_eq!((run.network, run.security), (Network::None, Security::Insecure));
    assert_eq!((run.mounts.len(), run.devices.len()), (2, 1));
    for (bad, message) in [
        ("COPY --form=a b c", "unknown flag: --form of COPY"),
        ("COPY --from b c", "missing a value on flag: --from"),
        ("COPY --link=perhaps b c", "expecting boolean"),
        ("COPY --link= b c", "missing a value"),
        ("COPY --from=a --from=b c d", "duplicate flag"),
        ("ADD --from=a b c", "unknown flag: --from of ADD"),
        ("COPY --unpack b c", "unknown flag"),
        ("RUN --network=nonet x", "unsupported network mode"),
        ("RUN --mount=type=bind,from=$x,target=/y z", "doesn't support variable expansion"),
        ("CMD --x y", "unknown flag"),
        ("ENV --x y", "unknown flag"),
    ] {
        refused(&format!("FROM a\n{bad}"), message);
    }
    let error = refused("FROM a\nCOPY --form=a b c", "did you mean from?");
    assert_eq!(error.place, Some(crate::Place { line: 2, column: 5 }));
}

#[test]
fn every_instruction() {
    let text = |text: &str| text.to_owned();
    assert_eq!(only("MAINTAINER a b <c>"), Instruction::Maintainer(text("a b <c>")));
    assert_eq!(only("USER a:b"), Instruction::User(text("a:b")));
    assert_eq!(only("workdir a b"), Instruction::Workdir(text("a b")));
    assert_eq!(only("STOPSIGNAL SIGTERM"), Instruction::Stopsignal(text("SIGTERM")));
    assert_eq!(only("EXPOSE 80 22/udp"), Instruction::Expose(vec![text("22/udp"), text("80")]));
    assert_eq!(only("ONBUILD  copy a \\\n b"), Instruction::Onbuild(text("copy a  b")));
    assert_eq!(only("ONBUILD RUN <<E\nx\nE"), Instruction::Onbuild(text("RUN <<E\nx\nE")));
    let Instruction::Env(pairs) = only("ENV a=1 b=\"x y\" c='$d' e=f\\ g") else { panic!() };
    let pairs: Vec<_> =
        pairs.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())).collect();
    assert_eq!(pairs, [("a", "1"), ("b", "\"x y\""), ("c", "'$d'"), ("e", "f\\ g")]);
    let Instruction::Env(pairs) = only("ENV a  the rest = of it") else { panic!() };
    assert!(pairs[0].legacy && pairs[0].value == "the rest = of it");
    let Instruction::Label(pairs) = only("LABEL \"a b\"=c") else { panic!() };
    assert_eq!(pairs[0].name, "\"a b\"");
    let Instruction::Arg(names) = only("ARG a b= c=\"d e\"") else { panic!() };
    assert_eq!(names.len(), 3);
    assert_eq!((names[0].default.as_deref(), names[1].default.as_deref()), (None, Some("")));
    let health = only(
        "HEALTHCHECK --interval=30s --timeout=1m --start-period=5ms --start-interval=1s --retries=3 CMD curl x",
    );
    let Instruction::Healthcheck(health) = health else { panic!() };
    assert_eq!(health.test, ["CMD-SHELL", "curl x"]);
    assert_eq!(
        (health.interval, health.timeout, health.retries),
        (30_000_000_000, 60_000_000_000, 3)
    );
    let Instruction::Healthcheck(health) = only("HEALTHCHECK cmd [\"a\"]") else { panic!() };
    assert_eq!(health.test, ["CMD", "a"]);
    assert!(matches!(only("HEALTHCHECK NONE"), Instruction::Healthcheck(_)));
    for (bad, message) in [
        ("ENV", "at least one argument"),
        ("ENV a", "must have two arguments"),
        ("ENV a=b c", "can't find = in \"c\""),
        ("ENV =b", "can not be blank"),
        ("ARG =b", "can not be blank"),
        ("ARG", "at least one"),
        ("USER", "exactly one argument"),
        ("WORKDIR", "exactly one argument"),
        ("EXPOSE", "at least one"),
        ("VOLUME", "at least one"),
        ("VOLUME [\"\"]", "empty string"),
        ("RUN", "at least one"),
        ("RUN []", "at least one"),
        ("COPY a", "at least two arguments"),
        ("ADD", "at least two arguments"),
        ("ONBUILD", "at least one"),
        ("ONBUILD ONBUILD RUN x", "chaining ONBUILD"),
        ("ONBUILD from x", "isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUNN x", "unknown instruction: RUNN"),
        ("HEALTHCHECK", "at least one"),
        ("HEALTHCHECK NONE x", "takes no arguments"),
        ("HEALTHCHECK CMD", "missing command"),
        ("HEALTHCHECK CDM x", "unknown type"),
        ("HEALTHCHECK --interval=1us CMD x", "cannot be less than 1ms"),
        ("HEALTHCHECK --interval=x CMD x", "not a duration"),
        ("HEALTHCHECK --retries=-1 CMD x", "cannot be negative"),
        ("HEALTHCHECK --retries=x CMD x", "not a number"),
    ] {
        refused(&format!("FROM a\n{bad}"), message);
    }
}

#[test]
fn errors_show_the_place() {
    let error =
        refused("FROM a\n  RUNN x\n", "line 2: unknown instruction: RUNN (did you mean RUN?)");
    let source = Source::new(b"FROM a\n  RUNN x\n");
    assert_eq!(
        error.excerpt("Dockerfile", &source),
        "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>>   RUNN x\n     |       ^\n   3 |\n--------------------\n"
    );
    let error = refused("FROM a\nRUN x \\\n  && y\nCOPY --chwon=a b c", "did you mean chown?");
    assert_eq!(error.lines, Some(Lines::one(4)));
}

#[test]
fn hostile_files_are_refused() {
    refused(&format!("FROM a\nRUN {}", "x".repeat(70_000)), "line greater than");
    let long = format!("FROM a\nRUN x{}", " \\\n x".repeat(400_000));
    refused(&long, "more than 1048576 bytes");
    let many = format!("FROM a\n{}", "USER a\n".repeat(30_000));
    refused(&many, "more than 20000 instructions");
    assert!(parse(b"FROM a\n# \xe4 latin\nUSER b").is_ok());
    assert!(parse(b"FROM a\nUSER \xe4").unwrap_err().to_string().contains("not UTF-8"));
    let onbuilds = format!("FROM a\nONBUILD {}RUN x <<A\nA\n", "ONBUILD ".repeat(8000));
    assert!(parse(onbuilds.as_bytes()).is_err());
    assert!(parse(&vec![b'x'; MAX_BYTES + 1]).is_err());
}

#[test]
fn triggers() {
    assert!(parse_trigger("COPY . /x", '\\').is_ok());
    assert!(parse_trigger("RUN <<E\nx\nE", '\\').is_ok());
    for bad in ["", "RUN x\nRUN y", "FROM a", "ONBUILD RUN x", "MAINTAINER x", "NOPE"] {
        assert!(parse_trigger(bad, '\\').is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_parse_or_fail(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn anything_like_a_dockerfile_parses_or_fails(
        lines in proptest::collection::vec(
            "(FROM|RUN|COPY|ADD|ENV|ARG|ONBUILD|HEALTHCHECK|CMD|SHELL|LABEL|EXPOSE|#|)( |=|--|<<|[a-zE'\"$\\[\\],\\\\{}/-]){0,16}",
            0..12,
        )
    ) {
        let text = lines.join("\n");
        if let Err(error) = parse(text.as_bytes()) {
            let source = Source::new(text.as_bytes());
            proptest::prop_assert!(!error.message.contains('\n'));
            let _ = error.excerpt("Dockerfile", &source);
        }
    }

    /// The lines of instructions do not overlap and cover no line of another.
    #[test]
    fn positions_go_forward(count in 1usize..20, breaks in proptest::collection::vec(0usize..3, 20)) {
        let mut text = "FROM a\n".to_owned();
        for breaks in breaks.iter().take(count) {
            text.push_str(&format!("RUN x{}\n", " \\\n y".repeat(*breaks)));
        }
        let file = parse(text.as_bytes()).unwrap();
        let mut last = 1;
        for (statement, breaks) in file.stages[0].statements.iter().zip(&breaks) {
            proptest::prop_assert_eq!(statement.lines.start, last + 1);
            proptest::prop_assert_eq!(statement.lines.end, last + 1 + breaks);
            last = statement.lines.end;
        }
    }
}
