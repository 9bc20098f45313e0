use hull_oci::{ImageConfig, RuntimeConfig};

use super::*;
use crate::instruction::Network;
use crate::mount::Sharing;
use crate::parse;

fn base(env: &[&str]) -> RuntimeConfig {
    RuntimeConfig {
        env: env.iter().map(|line| (*line).to_owned()).collect(),
        ..RuntimeConfig::default()
    }
}

fn image(config: RuntimeConfig) -> BaseImage {
    BaseImage {
        config: ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            config: Some(config),
            ..ImageConfig::default()
        },
        resolved: "docker.io/library/base:1@sha256:0".to_owned(),
        is_known: true,
        is_files: false,
    }
}

fn options() -> Options {
    Options { build_platform: "linux/amd64".parse().unwrap(), ..Options::default() }
}

fn planned_with(text: &str, options: Options, config: &RuntimeConfig) -> Result<Plan, String> {
    let file = parse(text.as_bytes()).map_err(|error| error.to_string())?;
    let mut planner = Planner::new(&file, options).map_err(|error| error.to_string())?;
    while let [wanted, ..] = planner.wanted().as_slice() {
        planner.supply(wanted.stage, image(config.clone())).map_err(|error| error.to_string())?;
    }
    planner.finish().map_err(|error| error.to_string())
}

#[track_caller]
fn planned(text: &str) -> Plan {
    match planned_with(text, options(), &RuntimeConfig::default()) {
        Ok(plan) => plan,
        Err(error) => panic!("{error}\n{text}"),
    }
}

#[track_caller]
fn config(text: &str) -> RuntimeConfig {
    planned(&format!("FROM scratch\n{text}\n")).target().image.runtime()
}

#[track_caller]
fn refused(text: &str, message: &str) {
    match planned_with(text, options(), &RuntimeConfig::default()) {
        Ok(_) => panic!("{text}"),
        Err(error) => assert!(error.contains(message), "{text}\n{error}"),
    }
}

fn args(words: &[(&str, &str)]) -> Options {
    let build_args = words.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Options { build_args: build_args.collect(), ..options() }
}

fn history(plan: &Plan) -> Vec<&str> {
    plan.target().image.history.iter().map(|entry| entry.created_by.as_str()).collect()
}

fn runs(plan: &Plan) -> Vec<&RunStep> {
    let steps = plan.target().steps.iter();
    steps
        .filter_map(|step| match &step.action {
            Action::Run(run) => Some(&**run),
            _ => None,
        })
        .collect()
}

fn copies(plan: &Plan) -> Vec<&CopyStep> {
    let steps = plan.target().steps.iter();
    steps
        .filter_map(|step| match &step.action {
            Action::Copy(copy) => Some(&**copy),
            _ => None,
        })
        .collect()
}

fn shown(plan: &Plan) -> Vec<&str> {
    let steps = plan.target().steps.iter().map(|step| step.display.as_str());
    steps.filter(|display| !display.is_empty()).collect()
}

fn variable<'a>(run: &'a RunStep, name: &str) -> Option<&'a str> {
    run.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

// The numbers are those of the semantics in the notes on Dockerfiles.

#[test]
fn s05_run_heredocs() {
    let plan = planned("FROM scratch\nRUN <<EOF\necho $a\n\tb\nEOF\n");
    assert_eq!(runs(&plan)[0].args, ["/bin/sh", "-c", "echo $a\n\tb\n"]);
    assert_eq!(history(&plan), ["RUN /bin/sh -c echo $a\n\tb\n # buildkit"]);
    assert_eq!(shown(&plan), ["[1/1] RUN <<EOF (echo $a...)"]);
    let plan = planned("FROM scratch\nRUN <<-'X'\n\t#!/bin/cat\n\ttext\n\tX\n");
    assert_eq!(runs(&plan)[0].args, ["/bin/sh", "-c", "/dev/pipes/X"]);
    let script = runs(&plan)[0].script.clone().unwrap();
    assert_eq!((script.name.as_str(), script.data.as_str()), ("X", "#!/bin/cat\ntext\n"));
    let plan = planned("FROM scratch\nRUN cat <<A <<B > x\n1\nA\n2\nB\n");
    assert_eq!(runs(&plan)[0].args[2], "cat <<A <<B > x\n1\nA\n2\nB");
    let plan = planned("FROM scratch\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN <<EOF\nx\nEOF\n");
    assert_eq!(runs(&plan)[0].args, ["/bin/bash", "-ec", "x\n"]);
}

#[test]
fn s05_copy_heredocs() {
    let plan = planned(
        "FROM scratch\nENV a=1\nCOPY <<one <<'two' <<-three /d/\n$a \"$a\"\none\n$a\ntwo\n\t\tx\nthree\n",
    );
    let inline =
        |name: &str, data: &str| CopySource::Inline { name: name.into(), data: data.into() };
    assert_eq!(
        copies(&plan)[0].sources,
        [inline("one", "1 \"1\"\n"), inline("two", "$a\n"), inline("three", "x\n")]
    );
    assert_eq!(history(&plan)[1], "COPY <<one <<two <<three /d/ # buildkit");
    refused("FROM scratch\nCOPY <<a/b /x\n1\na/b\n", "is no name of a file");
    refused("FROM scratch\nCOPY <<.. /x\n1\n..\n", "is no name of a file");
}

#[test]
fn s08_where_variables_are_expanded() {
    let plan = planned(
        "FROM scratch\nENV v=x\nARG d=$v\nWORKDIR /$v\nUSER $v\nVOLUME /$v\nSTOPSIGNAL SIG${no:-INT}\nEXPOSE 8${no:-0}\nLABEL l$v=$v\nCOPY --chown=$v --chmod=7${no:-5}5 --exclude=$v /$v $v/\nADD --checksum=sha256:$c http://h/$v /\nRUN $v\nCMD $v\nENTRYPOINT [\"$v\"]\nHEALTHCHECK CMD $v\nSHELL [\"$v\"]\n".replace("$c", &"0".repeat(64)).as_str(),
    );
    let config = plan.target().image.runtime();
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("x", "/x"));
    assert!(config.volumes.contains("/x") && config.exposed_ports.contains("80/tcp"));
    assert_eq!(config.labels["lx"], "x");
    assert_eq!(config.stop_signal, "SIGINT");
    assert_eq!(config.cmd, ["/bin/sh", "-c", "$v"]);
    assert_eq!(config.entrypoint, ["$v"]);
    assert_eq!(config.healthcheck.unwrap().test, ["CMD-SHELL", "$v"]);
    assert_eq!(config.shell, ["$v"]);
    let copies = copies(&plan);
    let copy = copies[0];
    assert_eq!(copy.chown.as_deref(), Some("x"));
    assert_eq!(copy.chmod.as_ref().unwrap().as_str(), "755");
    assert_eq!(copy.exclude, ["$v"], "exclusions are as written");
    assert_eq!(
        (copy.destination.as_str(), &copy.sources[0]),
        ("/x/x/", &CopySource::Path("/x".into()))
    );
    assert!(matches!(&copies[1].sources[0], CopySource::Url { url, .. } if url == "http://h/x"));
    assert_eq!(runs(&plan)[0].args[2], "$v");
    assert_eq!(variable(runs(&plan)[0], "d"), Some("x"));
    refused(
        "FROM scratch\nARG a=b\nCOPY --from=$a x /",
        "variable expansion is not supported for --from",
    );
    refused("FROM scratch\nENV x=\"${y?said so}\"", "y: said so");
}

#[test]
fn s09_one_instruction_sees_the_old_values() {
    let env =
        config("ENV a=1\nENV a=2 b=$a\nENV c='$a' d=\"$a\" e=\\$a f=x\\ y g=\"a \\\"b\\\"\"").env;
    assert_eq!(env[1..], ["a=2", "b=1", "c=$a", "d=2", "e=$a", "f=x y", "g=a \"b\""]);
    // But an ARG sees those before it on its line.
    let plan = planned("FROM scratch\nARG a=1 b=$a\nRUN x");
    assert_eq!(variable(runs(&plan)[0], "b"), Some("1"));
}

#[test]
fn s11_expose() {
    let plan = planned("FROM scratch\nENV p=\"80 90-91/udp\"\nEXPOSE $p 127.0.0.1:1:2\n");
    let config = plan.target().image.runtime();
    assert_eq!(Vec::from_iter(config.exposed_ports), ["2/tcp", "80/tcp", "90/udp", "91/udp"]);
    assert_eq!(history(&plan)[1], "EXPOSE [80/tcp 90/udp 91/udp 2/tcp]");
    refused("FROM scratch\nEXPOSE 70000", "invalid containerPort");
    refused("FROM scratch\nEXPOSE 0-65535/tcp\nEXPOSE 0-65535/udp", "ports are exposed");
}

#[test]
fn s12_arguments_before_the_first_stage() {
    let text = "ARG v=1\nARG w=$v-x\nFROM base:$v AS a\nRUN echo $v\nFROM base\nARG v\nARG w=own\nARG TARGETARCH\nARG none\nRUN x\n";
    let file = parse(text.as_bytes()).unwrap();
    let wanted = Planner::new(&file, Options { all_stages: true, ..options() }).unwrap().wanted();
    assert_eq!(wanted[0].base, Base::Image("base:1".into()));
    let plan = planned(text);
    let run = runs(&plan)[0];
    assert_eq!(variable(run, "v"), Some("1"));
    assert_eq!(variable(run, "w"), Some("own"));
    assert_eq!(variable(run, "TARGETARCH"), Some("amd64"));
    assert_eq!(variable(run, "none"), None);
    assert_eq!(
        history(&plan),
        [
            "ARG v=1",
            "ARG w=own",
            "ARG TARGETARCH=amd64",
            "ARG none",
            "RUN |4 v=1 w=own TARGETARCH=amd64 none= /bin/sh -c x # buildkit"
        ]
    );
    let plan =
        planned_with(text, args(&[("v", "9"), ("w", "8"), ("none", "")]), &base(&[])).unwrap();
    assert_eq!(variable(runs(&plan)[0], "v"), Some("9"));
    assert_eq!(variable(runs(&plan)[0], "w"), Some("8"));
    assert_eq!(variable(runs(&plan)[0], "none"), Some(""));
    let plan = planned_with(
        "FROM scratch\nARG a",
        args(&[("a", "1"), ("b", "2"), ("HTTP_PROXY", "p")]),
        &base(&[]),
    );
    assert_eq!(plan.unwrap().unused_build_args, ["b"]);
}

#[test]
fn s12_arguments_of_the_platform() {
    let text = "FROM --platform=$BUILDPLATFORM scratch AS build\nARG BUILDARCH TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETSTAGE\nRUN x\n";
    let target = Options { target_platform: Some("linux/arm/v7".parse().unwrap()), ..options() };
    let plan = planned_with(text, target, &base(&[])).unwrap();
    let run = runs(&plan)[0];
    for (name, value) in [
        ("BUILDARCH", "amd64"),
        ("TARGETPLATFORM", "linux/arm/v7"),
        ("TARGETOS", "linux"),
        ("TARGETARCH", "arm"),
        ("TARGETVARIANT", "v7"),
        ("TARGETSTAGE", "build"),
    ] {
        assert_eq!(variable(run, name), Some(value), "{name}");
    }
}

#[test]
fn s13_a_stage_inherits_from_a_stage() {
    let plan = planned(
        "FROM base AS a\nENV e=1\nARG r=2\nUSER u\nWORKDIR /w\nSHELL [\"s\"]\nLABEL l=1\nCMD c\nFROM a\nRUN x\nWORKDIR y\n",
    );
    let target = plan.target();
    let run = runs(&plan)[0];
    assert_eq!(target.base, Base::Stage(StageId(0)));
    assert_eq!(plan.stages.len(), 2);
    assert_eq!((variable(run, "e"), variable(run, "r")), (Some("1"), Some("2")));
    assert_eq!((run.user.as_str(), run.cwd.as_str()), ("u", "/w"));
    assert_eq!(run.args, ["s", "x"]);
    let config = target.image.runtime();
    assert_eq!((config.working_dir.as_str(), config.labels["l"].as_str()), ("/w/y", "1"));
    assert_eq!(config.cmd, ["s", "c"]);
    assert!(history(&plan).contains(&"RUN |1 r=2 s x # buildkit"));
    assert_eq!(target.inherited_history, 7);
}

#[test]
fn s14_arg_after_env() {
    let plan = planned("FROM scratch\nENV a=env\nARG a=arg\nRUN x\n");
    assert_eq!(variable(runs(&plan)[0], "a"), Some("arg"));
    assert!(plan.target().image.runtime().env.contains(&"a=env".to_owned()));
    let plan = planned("FROM scratch\nARG a=arg\nENV a=env\nRUN x\n");
    assert_eq!(variable(runs(&plan)[0], "a"), Some("env"));
}

#[test]
fn s15_there_is_always_a_path() {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(config("").env, [path]);
    let plan = planned_with("FROM base", options(), &base(&["A=1"])).unwrap();
    assert_eq!(plan.target().image.runtime().env, ["A=1", path]);
    let plan = planned_with("FROM base", options(), &base(&["PATH=/x"])).unwrap();
    assert_eq!(plan.target().image.runtime().env, ["PATH=/x"]);
}

#[test]
fn s19_only_what_the_target_needs() {
    let text = "FROM a AS one\nFROM b AS two\nFROM c AS three\nCOPY --from=one x /\nRUN --mount=from=3,target=/m y\nFROM d AS four\n";
    let text = text.replace("from=3", "from=two");
    let file = parse(text.as_bytes()).unwrap();
    let wanted = |target: &str| {
        let options = Options { target: Some(target.into()), ..options() };
        let wanted = Planner::new(&file, options).unwrap().wanted();
        wanted.iter().map(|wanted| wanted.stage.0).collect::<Vec<_>>()
    };
    assert_eq!(wanted("three"), [0, 1, 2]);
    assert_eq!(wanted("FOUR"), [3]);
    assert_eq!(wanted("0"), [0]);
    let plan =
        planned_with(&text, Options { target: Some("three".into()), ..options() }, &base(&[]));
    let plan = plan.unwrap();
    assert_eq!(plan.target().id, StageId(2));
    assert_eq!(plan.target().needs, BTreeSet::from([StageId(0), StageId(1)]));
    let unknown = Options { target: Some("thre".into()), ..options() };
    let error = planned_with(&text, unknown, &base(&[])).unwrap_err();
    assert!(
        error.contains("target stage \"thre\" could not be found (did you mean three?)"),
        "{error}"
    );
}

#[test]
fn s21_sources_cannot_leave_their_root() {
    let plan = planned("FROM scratch\nCOPY ../../a /b/../../c ./d/ . /x/\n");
    let paths = ["/a", "/c", "/d", "/"].map(|path| CopySource::Path(path.to_owned()));
    assert_eq!(copies(&plan)[0].sources, paths);
}

#[test]
fn s22_a_slash_at_the_end_of_a_destination_counts() {
    let plan = planned(
        "FROM scratch\nWORKDIR /w\nCOPY a b\nCOPY a b/\nCOPY a .\nCOPY a ../\nCOPY a /\nCOPY a /x/.\n",
    );
    let destinations: Vec<_> = copies(&plan).iter().map(|copy| copy.destination.as_str()).collect();
    assert_eq!(destinations, ["/w/b", "/w/b/", "/w/", "/", "/", "/x/"]);
}

#[test]
fn s30_sources_of_add() {
    let plan = planned(
        "FROM scratch\nADD a.tar http://h/f.tar https://h/r.git#v1:d git@h:r /d/\nADD --keep-git-dir https://h/r.git /e\nADD --unpack http://h/f /f\n",
    );
    let copy = copies(&plan)[0];
    assert!(copy.is_add && matches!(copy.sources[0], CopySource::Path(_)));
    assert!(matches!(copy.sources[1], CopySource::Url { .. }));
    assert!(matches!(copy.sources[2], CopySource::Git { .. }));
    assert!(matches!(copy.sources[3], CopySource::Git { .. }));
    assert!(copies(&plan)[1].keep_git_dir);
    assert_eq!(copies(&plan)[2].unpack, Some(true));
    refused("FROM scratch\nCOPY http://h/f /", "source can't be a URL for COPY (use ADD)");
    refused("FROM scratch\nCOPY https://h/f.git /", "source can't be a git ref for COPY");
    refused("FROM scratch\nADD --checksum=sha256:0 a /", "requires HTTP(S) or Git");
    refused("FROM scratch\nADD --checksum=x http://h/a /", "digest");
    refused("FROM scratch\nADD --checksum=sha256:0 http://h/a b /", "multiple sources");
    refused("FROM scratch\nADD https://h/r.git#--upload-pack=x /", "no part of a git URL");
    refused("FROM scratch\nCOPY --chmod=999 a /", "invalid chmod parameter");
}

#[test]
fn s33_references_between_stages() {
    refused("FROM scratch AS a\nCOPY --from=a x /", "circular dependency detected on stage: a");
    refused(
        "FROM scratch AS a\nCOPY --from=b x /\nFROM scratch AS b\nCOPY --from=a x /",
        "circular dependency detected on stage: a",
    );
    refused(
        "FROM scratch AS a\nCOPY --from=b x /\nFROM a\nFROM scratch AS b\n",
        "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
    );
    refused("FROM scratch\nCOPY --from=7 x /", "invalid stage index 7");
    refused("FROM scratch\nCOPY --from=No/Such x /", "failed to parse stage name");
    refused("FROM Bad/Name", "failed to parse stage name \"Bad/Name\"");
    refused("FROM $nothing", "should not be blank");
    let plan = planned(
        "FROM scratch AS Base\nFROM base\nCOPY --from=BASE a /\nCOPY --from=0 a /\nCOPY --from=busybox a /\nCOPY --from=scratch a /\n",
    );
    let sources: Vec<_> = copies(&plan).iter().map(|copy| copy.from.clone()).collect();
    let stage = Source::Stage(StageId(0));
    assert_eq!(sources, [stage.clone(), stage, Source::Image("busybox".into()), Source::Scratch]);
}

#[test]
fn s06_the_last_of_two_stages_of_one_name_counts() {
    let plan = planned("FROM scratch AS a\nUSER one\nFROM scratch AS a\nUSER two\nFROM a\n");
    assert_eq!(plan.target().image.runtime().user, "two");
    assert_eq!(plan.target().base, Base::Stage(StageId(1)));
}

#[test]
fn s34_entrypoint_and_cmd() {
    let inherited = RuntimeConfig { cmd: vec!["c".into()], ..base(&[]) };
    let of =
        |text: &str| planned_with(text, options(), &inherited).unwrap().target().image.runtime();
    assert!(of("FROM b\nENTRYPOINT [\"e\"]").cmd.is_empty());
    assert_eq!(of("FROM b\nCMD d\nENTRYPOINT [\"e\"]").cmd, ["/bin/sh", "-c", "d"]);
    assert_eq!(of("FROM b\nENTRYPOINT e\nCMD [\"d\"]").entrypoint, ["/bin/sh", "-c", "e"]);
    assert!(of("FROM b\nCMD []").cmd.is_empty());
    assert_eq!(of("FROM b\nSHELL [\"x\"]\nCMD d\nSHELL [\"y\"]").cmd, ["x", "d"]);
    assert!(of("FROM b\nCMD []").args_escaped);
}

#[test]
fn s35_workdir() {
    let plan = planned("FROM scratch\nUSER u\nWORKDIR a\nWORKDIR ../b/./c/\nWORKDIR /\n");
    let steps: Vec<_> = plan.target().steps.iter().map(|step| step.action.clone()).collect();
    let workdir = |path: &str| Action::Workdir(WorkdirStep { path: path.into(), user: "u".into() });
    assert_eq!(steps, [Action::Config, workdir("/a"), workdir("/b/c"), Action::Config]);
    assert_eq!(history(&plan), ["USER u", "WORKDIR /a", "WORKDIR /b/c", "WORKDIR /"]);
    let empty: Vec<_> = plan.target().image.history.iter().map(|entry| entry.empty_layer).collect();
    assert_eq!(empty, [true, false, false, true]);
}

#[test]
fn s37_volumes_s38_labels_s39_health() {
    let plan = planned(
        "FROM scratch\nVOLUME [\"/a b\", \"/c\"]\nLABEL a=1 \"b c\"='d e' \nLABEL a 2 3\nHEALTHCHECK --interval=90s --retries=2 CMD curl x\nHEALTHCHECK NONE\nMAINTAINER me\nCMD [\"a\", \"b \\\"c\\\"\"]\n",
    );
    let config = plan.target().image.runtime();
    assert_eq!(Vec::from_iter(config.volumes), ["/a b", "/c"]);
    assert_eq!(config.labels["a"], "2 3");
    assert_eq!(config.labels["b c"], "d e");
    assert_eq!(config.healthcheck.unwrap().test, ["NONE"]);
    assert_eq!(plan.target().image.author, "me");
    assert_eq!(
        history(&plan),
        [
            "VOLUME [/a b /c]",
            "LABEL a=1 b c=d e",
            "LABEL a=2 3",
            "HEALTHCHECK &{[\"CMD-SHELL\" \"curl x\"] \"1m30s\" \"0s\" \"0s\" \"0s\" '\\x02'}",
            "HEALTHCHECK &{[\"NONE\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\x00'}",
            "MAINTAINER me",
            "CMD [\"a\" \"b \\\"c\\\"\"]",
        ]
    );
    let labels = BTreeMap::from([("a".to_owned(), "cli".to_owned())]);
    let plan = planned_with("FROM scratch\nLABEL a=1", Options { labels, ..options() }, &base(&[]));
    assert_eq!(plan.unwrap().target().image.runtime().labels["a"], "cli");
}

#[test]
fn s40_triggers_of_an_image() {
    let config = RuntimeConfig {
        on_build: vec![
            "COPY --from=helper a /b".into(),
            "RUN <<E\nx $a\nE".into(),
            "ENV t=$e".into(),
        ],
        ..base(&["e=1"])
    };
    let text = "FROM helper:1 AS helper\nFROM base\nRUN own\n";
    let file = parse(text.as_bytes()).unwrap();
    let mut planner = Planner::new(&file, options()).unwrap();
    assert_eq!(planner.wanted().iter().map(|one| one.stage.0).collect::<Vec<_>>(), [1]);
    planner.supply(StageId(1), image(config)).unwrap();
    assert_eq!(planner.wanted().iter().map(|one| one.stage.0).collect::<Vec<_>>(), [0]);
    planner.supply(StageId(0), image(RuntimeConfig::default())).unwrap();
    let plan = planner.finish().unwrap();
    let target = plan.target();
    assert_eq!(target.needs, BTreeSet::from([StageId(0)]));
    assert!(target.image.runtime().on_build.is_empty(), "grandchildren do not inherit them");
    assert!(target.image.runtime().env.contains(&"t=1".to_owned()));
    assert_eq!(target.steps[1].lines, Lines::one(2));
    assert!(target.steps[0].on_build && !target.steps[3].on_build);
    assert_eq!(shown(&plan)[0], "[stage-1 2/5] ONBUILD COPY --from=helper a /b");
    let bad = |trigger: &str| {
        let config = RuntimeConfig { on_build: vec![trigger.into()], ..base(&[]) };
        planned_with("FROM base\n", options(), &config).unwrap_err()
    };
    assert!(bad("NOPE x").contains("ONBUILD NOPE x: unknown instruction: NOPE"));
    assert!(bad("RUN a\nRUN b").contains("single expression"));
    assert!(bad("COPY --from=0 a /").contains("circular"));
}

#[test]
fn s40_triggers_of_a_stage() {
    let plan = planned("FROM scratch AS a\nONBUILD ENV x=1\nONBUILD RUN y\nFROM a AS b\nFROM b\n");
    let stage = plan.stage(StageId(1)).unwrap();
    assert!(stage.image.runtime().env.contains(&"x=1".to_owned()));
    assert_eq!(stage.steps.len(), 2);
    assert_eq!(plan.target().steps.len(), 0, "not twice");
    let plan = planned("FROM scratch\nONBUILD RUN <<E\nx\nE\n");
    assert_eq!(plan.target().image.runtime().on_build, ["RUN <<E\nx\nE"]);
    assert!(history(&plan).is_empty());
}

#[test]
fn s41_signals() {
    for good in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-2", "WINCH"] {
        assert_eq!(config(&format!("STOPSIGNAL {good}")).stop_signal, good);
    }
    for bad in ["0", "65", "SIGNOPE", "RTMIN+99", "-1"] {
        refused(&format!("FROM scratch\nSTOPSIGNAL {bad}"), "invalid signal");
    }
}

#[test]
fn s42_mounts() {
    let plan = planned_with(
        "FROM a AS a\nFROM scratch\nWORKDIR /w\nENV v=/e\nRUN --network=none --mount=target=src,source=../x --mount=type=cache,target=$v,sharing=locked,uid=1 --mount=type=cache,id=i,target=/c,from=a,source=/s --mount=type=tmpfs,target=/t,size=1m --mount=type=secret,id=d/s --mount=type=secret,target=/k/key --mount=type=secret,id=t,env=TOKEN,required --mount=type=ssh --mount=from=img,target=/i,rw echo $TOKEN\n",
        args(&[("BUILDKIT_CACHE_MOUNT_NS", "ns")]),
        &base(&[]),
    )
    .unwrap();
    let run = runs(&plan)[0];
    assert_eq!(run.network, Network::None);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        run.mounts[0],
        RunMount::Bind {
            from: Source::Context,
            source: text("/x"),
            target: text("/w/src"),
            writable: false
        }
    );
    let RunMount::Cache { id, sharing, uid, from, .. } = &run.mounts[1] else { panic!() };
    assert_eq!((id.as_str(), *sharing, *uid, from), ("ns//e", Sharing::Locked, Some(1), &None));
    let RunMount::Cache { id, source, from, .. } = &run.mounts[2] else { panic!() };
    assert_eq!(
        (id.as_str(), source.as_str(), from),
        ("ns/i", "/s", &Some(Source::Stage(StageId(0))))
    );
    assert_eq!(run.mounts[3], RunMount::Tmpfs { target: text("/t"), size: Some(1 << 20) });
    let secret = |mount: &RunMount| match mount {
        RunMount::Secret { id, target, env, required, .. } => {
            (id.clone(), target.clone(), env.clone(), *required)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(secret(&run.mounts[4]), (text("d/s"), Some(text("/run/secrets/s")), None, false));
    assert_eq!(secret(&run.mounts[5]), (text("key"), Some(text("/k/key")), None, false));
    assert_eq!(secret(&run.mounts[6]), (text("t"), None, Some(text("TOKEN")), true));
    assert!(
        matches!(&run.mounts[7], RunMount::Ssh { id, target: None, required: false, .. } if id == "default")
    );
    assert!(matches!(
        &run.mounts[8],
        RunMount::Bind { from: Source::Image(_), writable: true, .. }
    ));
    assert!(shown(&plan)[1].ends_with("echo ****"), "{}", shown(&plan)[1]);
    refused("FROM scratch\nRUN --mount=type=cache,target=/../ x", "invalid mount target");
    refused(
        "FROM scratch\nRUN --mount=type=cache,target=/x,sharing=lokced x",
        "did you mean locked?",
    );
    refused("FROM scratch\nRUN --mount=type=secret,id=.. x", "is no name of a file");
}

#[test]
fn s45_proxies_are_in_no_history() {
    let options = args(&[("HTTP_PROXY", "http://p"), ("no_proxy", "x")]);
    let plan =
        planned_with("FROM scratch\nRUN x\nARG HTTP_PROXY\nRUN y", options, &base(&[])).unwrap();
    let [first, second] = runs(&plan)[..] else { panic!() };
    let names: Vec<_> = first.proxy.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["HTTP_PROXY", "NO_PROXY", "http_proxy", "no_proxy"]);
    assert_eq!(variable(first, "HTTP_PROXY"), None);
    assert_eq!(variable(second, "HTTP_PROXY"), Some("http://p"));
    assert_eq!(
        history(&plan),
        [
            "RUN /bin/sh -c x # buildkit",
            "ARG HTTP_PROXY=http://p",
            "RUN |1 HTTP_PROXY=http://p /bin/sh -c y # buildkit"
        ]
    );
}

#[test]
fn s49_times() {
    let plan = planned_with(
        "FROM scratch\nUSER a",
        args(&[("SOURCE_DATE_EPOCH", "1700000000")]),
        &base(&[]),
    )
    .unwrap();
    assert_eq!(plan.source_date_epoch, Some(1_700_000_000));
    assert_eq!(plan.target().image.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(plan.target().image.history[0].created.as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(planned("ARG SOURCE_DATE_EPOCH=5\nFROM scratch").source_date_epoch, Some(5));
    assert_eq!(planned("FROM scratch\nUSER a").target().image.created, None);
    for bad in ["x", "-1", "99999999999999"] {
        assert!(
            planned_with("FROM scratch", args(&[("SOURCE_DATE_EPOCH", bad)]), &base(&[])).is_err()
        );
    }
}

#[test]
fn s50_the_platform_of_the_image() {
    let of = |platform: Option<&str>, text: &str| {
        let target_platform = platform.map(|text| text.parse().unwrap());
        let plan =
            planned_with(text, Options { target_platform, ..options() }, &base(&[])).unwrap();
        plan.target().image.platform().to_string()
    };
    assert_eq!(of(None, "FROM scratch"), "linux/amd64");
    assert_eq!(of(None, "FROM base"), "linux/amd64");
    assert_eq!(
        of(Some("linux/arm64"), "FROM base"),
        "linux/arm64",
        "even where the base says otherwise"
    );
    assert_eq!(of(Some("linux/arm/v6"), "FROM scratch"), "linux/arm/v6");
    refused("FROM --platform=a/b/c/d scratch", "failed to parse platform");
    refused("FROM --platform=$NOPE scratch", "empty platform value");
}

#[test]
fn named_contexts_stand_before_stages_and_images() {
    let named =
        |name: &str| Options { named_contexts: BTreeSet::from([name.to_owned()]), ..options() };
    let text = "FROM alpine:latest AS a\nRUN never\nFROM docker.io/library/alpine AS b\nCOPY --from=a x /\nCOPY --from=alpine x /\n";
    let plan = planned_with(text, named("alpine"), &base(&[])).unwrap();
    assert_eq!(plan.target().base, Base::Named("alpine".into()));
    assert_eq!(copies(&plan)[1].from, Source::Named("alpine".into()));
    let first = Options { target: Some("a".to_owned()), ..named("a") };
    let stage = planned_with(text, first, &base(&[])).unwrap();
    assert_eq!(stage.target().base, Base::Named("a".into()));
    assert_eq!(stage.target().steps, []);
    let plan = planned_with(text, named("a"), &base(&[])).unwrap();
    assert_eq!(plan.target().base, Base::Image("docker.io/library/alpine".into()));
    let plan =
        planned_with("FROM b AS a\nFROM scratch\nCOPY --from=a x /\n", named("a"), &base(&[]));
    let plan = plan.unwrap();
    assert_eq!(copies(&plan)[0].from, Source::Named("a".into()), "no layer is made of it");
    assert_eq!(plan.stage(StageId(0)), None);
}

#[test]
fn a_named_context_may_be_files_that_a_stage_begins_with() {
    let file = parse(b"FROM files AS a\nRUN x\n").unwrap();
    let options = Options { named_contexts: BTreeSet::from(["files".to_owned()]), ..options() };
    let mut planner = Planner::new(&file, options).unwrap();
    planner.supply(StageId(0), BaseImage { is_files: true, ..image(base(&[])) }).unwrap();
    let plan = planner.finish().unwrap();
    assert_eq!(shown(&plan), ["[1/2] FROM files", "[2/2] RUN x"]);
    assert_eq!(copies(&plan)[0].from, Source::Named("files".into()));
    let history: Vec<_> =
        plan.target().image.history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert_eq!(history, ["FROM files # build context", "RUN /bin/sh -c x # buildkit"]);
}

#[test]
fn a_named_context_may_be_a_stage() {
    let with = |stage: &str| Options {
        named_contexts: BTreeSet::from(["dep".to_owned()]),
        named_stages: BTreeMap::from([("dep".to_owned(), stage.to_owned())]),
        ..options()
    };
    let planned = |text: &str, stage: &str| planned_with(text, with(stage), &base(&[]));
    let text = "FROM scratch AS other\nFROM dep AS mine\nCOPY --from=dep a /\n";
    let plan = planned(text, "Other").unwrap();
    assert_eq!(plan.target().base, Base::Stage(StageId(0)));
    assert_eq!(copies(&plan)[0].from, Source::Stage(StageId(0)));
    let replaced = "FROM scratch AS other\nFROM base AS dep\nRUN never\nFROM dep\n";
    let plan = planned(replaced, "other").unwrap();
    assert_eq!(shown(&plan), <[String; 0]>::default());
    for (text, stage, message) in [
        (text, "othr", "no stage before this one is called othr"),
        ("FROM scratch\nCOPY --from=dep a /\n", "x", "no stage is called x"),
        ("FROM scratch AS a\nCOPY --from=dep x /\n", "a", "circular dependency"),
    ] {
        let error = planned(text, stage).unwrap_err();
        assert!(error.contains(message), "{text}\n{error}");
    }
}

#[test]
fn names_of_steps() {
    let plan = planned(
        "FROM base AS Build\nRUN a\nUSER u\nWORKDIR /w\nCOPY $u x \\\n /y\nFROM scratch\nENV u='a b'\nCOPY --from=build $u /\n",
    );
    let build = plan.stage(StageId(0)).unwrap();
    assert_eq!(
        build.base_display.as_deref(),
        Some("[build 1/4] FROM docker.io/library/base:1@sha256:0")
    );
    let names: Vec<_> = build.steps.iter().map(|step| step.display.as_str()).collect();
    assert_eq!(
        names,
        ["[build 2/4] RUN a", "", "[build 3/4] WORKDIR /w", "[build 4/4] COPY  x  /y"]
    );
    assert_eq!(shown(&plan), ["[stage-1 1/1] COPY --from=build a b /"]);
    let many = planned(&format!("FROM scratch\n{}", "RUN x\n".repeat(10)));
    assert_eq!((shown(&many)[0], shown(&many)[9]), ("[ 1/10] RUN x", "[10/10] RUN x"));
    let lower = planned("FROM scratch\nrun $no \"$no\" $PATH\n");
    assert_eq!(
        shown(&lower),
        ["[1/1] RUN $no \"$no\" /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    );
    let multi = Options { multi_platform: true, ..options() };
    let plan = planned_with("FROM scratch\nRUN x", multi, &base(&[])).unwrap();
    assert_eq!(shown(&plan), ["[linux/amd64 1/1] RUN x"]);
}

#[test]
fn no_cache_for_some_stages() {
    let options = Options { no_cache_filter: BTreeSet::from(["a".to_owned()]), ..options() };
    let plan = planned_with("FROM scratch AS A\nFROM a AS b\n", options, &base(&[])).unwrap();
    assert!(plan.stage(StageId(0)).unwrap().no_cache && !plan.target().no_cache);
}

#[test]
fn errors_have_their_lines() {
    let file = parse(b"FROM scratch\n\nCOPY a \\\n  ${x?} \\\n  /\n").unwrap();
    let error = Planner::new(&file, options()).unwrap().finish().unwrap_err();
    assert_eq!(error.lines, Some(Lines { start: 3, end: 5 }));
    assert_eq!(error.place, Some(crate::Place { line: 4, column: 2 }));
}

#[test]
fn a_config_that_is_missing_is_an_error() {
    let file = parse(b"FROM base\n").unwrap();
    assert!(
        Planner::new(&file, options()).unwrap().finish().unwrap_err().message.contains("supplied")
    );
}
