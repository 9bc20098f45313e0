use hull_oci::{ImageConfig, RuntimeConfig};

use super::*;
use crate::ignore::Ignore;
use crate::parse;
use crate::plan::{BaseImage, Options, Planner};

fn checked_with(text: &str, options: Options) -> (Vec<Warning>, Result<(), SourceError>) {
    let file = parse(text.as_bytes()).unwrap();
    let options =
        Options { all_stages: true, build_platform: "linux/amd64".parse().unwrap(), ..options };
    let mut planner = match Planner::new(&file, options) {
        Ok(planner) => planner,
        Err(error) => return (Vec::new(), Err(error)),
    };
    while let [wanted, ..] = planner.wanted().as_slice() {
        let arm = format!("{:?}", wanted.base).contains("arm");
        let config = ImageConfig {
            architecture: if arm { "arm64" } else { "amd64" }.to_owned(),
            os: "linux".to_owned(),
            config: Some(RuntimeConfig {
                env: vec!["FROM_BASE=1".to_owned()],
                ..RuntimeConfig::default()
            }),
            ..ImageConfig::default()
        };
        let image = BaseImage { config, resolved: String::new(), is_known: true, is_files: false };
        planner.supply(wanted.stage, image).unwrap();
    }
    planner.check()
}

#[track_caller]
fn check(text: &str, expected: &[(usize, &str, &str)]) {
    let (warnings, outcome) = checked_with(text, Options::default());
    outcome.unwrap();
    let found: Vec<(usize, &str, &str)> = warnings
        .iter()
        .map(|warning| (warning.lines.start, warning.rule.name(), warning.detail.as_str()))
        .collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn a_good_file_has_none() {
    check(
        "# check=error=true\nARG V=1\nFROM base:$V AS build\nARG TARGETARCH x=y\nENV A=$x B=${FROM_BASE}$PATH C=$TARGETARCH\nWORKDIR /a\nWORKDIR b\nRUN $anything\nCOPY a$A /\nEXPOSE 80/tcp\nCMD [\"x\"]\nFROM build\nLABEL l=$A$x\n",
        &[],
    );
}

#[test]
fn names_of_stages() {
    check(
        "FROM scratch AS Big\nFROM scratch AS big\nFROM scratch AS context\n",
        &[
            (1, "StageNameCasing", "Stage name 'Big' should be lowercase"),
            (2, "DuplicateStageName", "Duplicate stage name \"big\", stage names should be unique"),
            (
                3,
                "ReservedStageName",
                "Stage name should not use the same name as reserved stage \"context\"",
            ),
        ],
    );
}

#[test]
fn casing_of_keywords() {
    check(
        "FROM scratch as a\nfrom scratch AS b\nUSER x\nUSER y\nworkdir /x\nStopSignal 9\n",
        &[
            (1, "FromAsCasing", "'as' and 'FROM' keywords' casing do not match"),
            (2, "FromAsCasing", "'AS' and 'from' keywords' casing do not match"),
            (
                2,
                "ConsistentInstructionCasing",
                "Command 'from' should match the case of the command majority (uppercase)",
            ),
            (
                5,
                "ConsistentInstructionCasing",
                "Command 'workdir' should match the case of the command majority (uppercase)",
            ),
            (
                6,
                "ConsistentInstructionCasing",
                "Command 'StopSignal' should match the case of the command majority (uppercase)",
            ),
        ],
    );
}

#[test]
fn forms_of_instructions() {
    check(
        "FROM base\nRUN x \\\n\n y\nENV a b\nLABEL c d\nMAINTAINER me\nCMD x\nENTRYPOINT [\"y\"]\nENTRYPOINT y\nSHELL [\"sh\"]\nCMD fine\n",
        &[
            (2, "NoEmptyContinuation", "Empty continuation line"),
            (
                5,
                "LegacyKeyValueFormat",
                "\"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            ),
            (
                6,
                "LegacyKeyValueFormat",
                "\"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
            ),
            (
                7,
                "MaintainerDeprecated",
                "Maintainer instruction is deprecated in favor of using label",
            ),
            (
                8,
                "JSONArgsRecommended",
                "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
            ),
            (
                8,
                "MultipleInstructionsDisallowed",
                "Multiple CMD instructions should not be used in the same stage because only the last one will be used",
            ),
            (
                9,
                "MultipleInstructionsDisallowed",
                "Multiple ENTRYPOINT instructions should not be used in the same stage because only the last one will be used",
            ),
            (
                10,
                "JSONArgsRecommended",
                "JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
            ),
        ],
    );
}

#[test]
fn variables() {
    check(
        "ARG TAG=1\nFROM base:${TGA:-1}\nARG known\nENV x=$nope y=$knwon\nENV z=$PAHT\nLABEL a=$known\nWORKDIR rel\nWORKDIR rel\n",
        &[
            (2, "UndefinedArgInFrom", "FROM argument 'TGA' is not declared (did you mean TAG?)"),
            (4, "UndefinedVar", "Usage of undefined variable '$knwon'"),
            (4, "UndefinedVar", "Usage of undefined variable '$nope'"),
            (5, "UndefinedVar", "Usage of undefined variable '$PAHT' (did you mean $PATH?)"),
            (
                7,
                "WorkdirRelativePath",
                "Relative workdir \"rel\" can have unexpected results if the base image changes",
            ),
        ],
    );
}

#[test]
fn platforms() {
    check(
        "FROM --platform=$TARGETPLATFORM base\nFROM --platform=linux/amd64 base AS a\nFROM --platform=linux/amd64 base AS for-amd64\nFROM --platform=$BUILDPLATFORM base AS c\nFROM armbase\n",
        &[
            (
                1,
                "RedundantTargetPlatform",
                "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
            ),
            (
                2,
                "FromPlatformFlagConstDisallowed",
                "FROM --platform flag should not use constant value \"linux/amd64\"",
            ),
            (
                5,
                "InvalidBaseImagePlatform",
                "Base image armbase was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build",
            ),
        ],
    );
}

#[test]
fn secrets_bases_and_ports() {
    check(
        "FROM scratch\nARG GITHUB_TOKEN PUBLIC_KEY KEYBOARD\nENV api_key=1 AUTH=2 TOKEN_FILE=/x\nEXPOSE 80/TCP\nEXPOSE 1.2.3.4:80:80\n",
        &[
            (
                2,
                "SecretsUsedInArgOrEnv",
                "Do not use ARG or ENV instructions for sensitive data (ARG \"GITHUB_TOKEN\")",
            ),
            (
                3,
                "SecretsUsedInArgOrEnv",
                "Do not use ARG or ENV instructions for sensitive data (ENV \"AUTH\")",
            ),
            (
                3,
                "SecretsUsedInArgOrEnv",
                "Do not use ARG or ENV instructions for sensitive data (ENV \"api_key\")",
            ),
            (
                4,
                "ExposeProtoCasing",
                "Defined protocol 'TCP' in EXPOSE instruction should be lowercase",
            ),
            (
                5,
                "ExposeInvalidFormat",
                "EXPOSE instruction should not define an IP address or host-port mapping, found '1.2.3.4:80:80'",
            ),
        ],
    );
    let given = Options {
        build_args: [("BASE".to_owned(), "base".to_owned())].into(),
        ..Options::default()
    };
    let (warnings, _) = checked_with("ARG BASE\nFROM $BASE\n", given);
    assert_eq!(
        warnings[0].detail,
        "Default value for ARG $BASE results in empty or invalid base image name"
    );
}

#[test]
fn copies_of_what_is_ignored() {
    let of = |ignore: &str, text: &str| {
        let ignore = Ignore::parse(ignore.as_bytes()).unwrap();
        let (warnings, _) = checked_with(text, Options { ignore, ..Options::default() });
        warnings.into_iter().map(|warning| warning.detail).collect::<Vec<_>>()
    };
    let text = "FROM base AS b\nFROM base\nCOPY a/x b /\nADD ./c /\nCOPY . /\nCOPY --from=b a /\n";
    assert_eq!(
        of("a\nc", text),
        [
            "Attempting to Copy file \"a/x\" that is excluded by .dockerignore",
            "Attempting to Add file \"c\" that is excluded by .dockerignore"
        ]
    );
    assert!(of("a\nc\n!a/x", text).is_empty());
    assert_eq!(of("*", "FROM base\nCOPY . /\n").len(), 1);
}

#[test]
fn what_is_skipped() {
    let text = "FROM scratch AS Big\nENV a b\nLABEL c d\n";
    let rules = |directive: &str, text: &str| {
        let text = format!("# check={directive}\n{text}");
        let (warnings, _) = checked_with(&text, Options::default());
        warnings.iter().map(|warning| warning.rule.name()).collect::<Vec<_>>()
    };
    assert_eq!(rules("skip=none", text).len(), 3);
    assert_eq!(rules("skip=StageNameCasing, LegacyKeyValueFormat", text).len(), 0);
    assert_eq!(rules("skip=all", text).len(), 0);
    let own = "FROM scratch AS Big\n# check=skip=LegacyKeyValueFormat\nENV a b\nLABEL c d\n";
    assert_eq!(rules("skip=none", own), ["StageNameCasing", "LegacyKeyValueFormat"]);
    let (_, outcome) =
        checked_with("# check=error=true\nFROM scratch AS Big\n", Options::default());
    assert_eq!(outcome.unwrap_err().message, "lint violation found for rules: StageNameCasing");
    let given = Options {
        build_args: [("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skip=all".to_owned())].into(),
        ..Options::default()
    };
    let (warnings, outcome) = checked_with("# check=error=true\nFROM scratch AS Big\n", given);
    assert!(warnings.is_empty() && outcome.is_ok());
    for bad in ["skip", "wat=1", "error=perhaps"] {
        let (_, outcome) =
            checked_with(&format!("# check={bad}\nFROM scratch\n"), Options::default());
        assert!(outcome.unwrap_err().message.contains("invalid check option"), "{bad}");
    }
}

#[test]
fn comments_that_nearly_describe_are_experimental() {
    let text = "# version of it\nARG v=1\n# other text\nFROM scratch AS a\n# a good one\nFROM scratch AS a2\n";
    check(&text.replace("a2", "b"), &[]);
    let (warnings, _) =
        checked_with(&format!("# check=experimental=all\n{text}"), Options::default());
    let found: Vec<_> = warnings.iter().map(|warning| warning.detail.as_str()).collect();
    assert_eq!(
        found,
        [
            "Comment for ARG should follow the format: `# v <description>`",
            "Comment for FROM should follow the format: `# a <description>`",
            "Comment for FROM should follow the format: `# a2 <description>`",
        ]
    );
}

#[test]
fn an_unknown_base_is_not_blamed() {
    let file = parse(b"FROM base\nENV a=$ANY\nFROM scratch\nENV a=$ANY\n").unwrap();
    let options = Options { all_stages: true, ..Options::default() };
    let mut planner = Planner::new(&file, options).unwrap();
    let stage = planner.wanted()[0].stage;
    let image = BaseImage {
        config: ImageConfig::default(),
        resolved: String::new(),
        is_known: false,
        is_files: false,
    };
    planner.supply(stage, image).unwrap();
    let (warnings, _) = planner.check();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].lines.start, 4);
}

#[test]
fn rules_have_addresses() {
    assert_eq!(
        Rule::JsonArgsRecommended.url(),
        "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
    );
    for rule in Rule::ALL {
        assert!(!rule.description().is_empty() && rule.url().is_ascii(), "{rule}");
    }
}
