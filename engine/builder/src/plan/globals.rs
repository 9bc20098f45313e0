//! Arguments that every stage may ask for: of the platform, and `ARG` before the first `FROM`.

use std::collections::{BTreeMap, BTreeSet};

use hull_oci::Platform;

use crate::instruction::{Dockerfile, Instruction};
use crate::parse::Wrong;
use crate::shell::{Environment, Lexer, Variables};
use crate::{Lines, SourceError};

use super::Options;

/// Proxies: `--build-arg` sets them without an `ARG`, and nothing remembers them.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// A global argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) value: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) lines: Lines,
    /// Arguments that its default uses.
    pub(crate) uses: BTreeSet<String>,
}

/// What they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Globals {
    /// Values of all of them.
    pub(crate) values: Environment,
    /// Those that the file declares.
    pub(crate) declared: BTreeMap<String, Global>,
}

impl Globals {
    /// The platform's and the file's, with what the command line says about them.
    pub(crate) fn new(dockerfile: &Dockerfile, options: &Options) -> Result<Self, SourceError> {
        Self::with(dockerfile, options, &options.build_args)
    }

    /// The same if nothing were said.
    pub(crate) fn by_default(
        dockerfile: &Dockerfile,
        options: &Options,
    ) -> Result<Self, SourceError> {
        Self::with(dockerfile, options, &BTreeMap::new())
    }

    fn with(
        dockerfile: &Dockerfile,
        options: &Options,
        build_args: &BTreeMap<String, String>,
    ) -> Result<Self, SourceError> {
        let mut globals = Self::default();
        for (name, value) in platform_arguments(dockerfile, options) {
            globals.values.set(name, build_args.get(name).unwrap_or(&value));
        }
        let lexer = Lexer::new(dockerfile.directives.escape);
        for statement in &dockerfile.global_args {
            let Instruction::Arg(arguments) = &statement.instruction else { continue };
            for argument in arguments {
                let mut uses = BTreeSet::new();
                let value = match (build_args.get(&argument.name), &argument.default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => {
                        let expanded = lexer.expand(default, &globals.values).map_err(|error| {
                            Wrong::new(error).word(default).at(statement.lines, &dockerfile.source)
                        })?;
                        uses = expanded.matched;
                        Some(expanded.text)
                    }
                    (None, None) => None,
                };
                if let Some(value) = &value {
                    globals.values.set(&argument.name, value);
                }
                uses.remove(&argument.name);
                let description = argument.description.clone();
                let global = Global { value, description, lines: statement.lines, uses };
                globals.declared.insert(argument.name.clone(), global);
            }
        }
        Ok(globals)
    }
}

/// Names and values of the platform's arguments.
fn platform_arguments(dockerfile: &Dockerfile, options: &Options) -> Vec<(&'static str, String)> {
    let build = &options.build_platform;
    let target = options.target_platform.as_ref().unwrap_or(build);
    let last = dockerfile.stages.last().and_then(|stage| stage.name.clone());
    let stage = options.target.clone().or(last).unwrap_or_else(|| "default".to_owned());
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    vec![
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", String::new()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", String::new()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", stage),
    ]
}

/// Whether `--build-arg` may set it although no `ARG` asks for it.
pub(super) fn is_predefined(name: &str) -> bool {
    is_proxy(name)
        || name.starts_with("BUILDKIT_")
        || name.starts_with("HULL_")
        || name == "SOURCE_DATE_EPOCH"
        || ["BUILD", "TARGET"].iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|rest| {
                matches!(rest, "PLATFORM" | "OS" | "OSVERSION" | "ARCH" | "VARIANT" | "STAGE")
            })
        })
}

fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// The proxy variables of the command line, in both cases.
pub(super) fn proxies(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut variables = BTreeMap::new();
    for (name, value) in build_args.iter().filter(|(name, _)| is_proxy(name)) {
        variables.insert(name.to_ascii_uppercase(), value.clone());
        variables.insert(name.to_ascii_lowercase(), value.clone());
    }
    for (name, value) in build_args.iter().filter(|(name, _)| is_proxy(name)) {
        variables.insert(name.clone(), value.clone());
    }
    variables.into_iter().collect()
}

/// `SOURCE_DATE_EPOCH` in seconds.
pub(super) fn source_date_epoch(
    options: &Options,
    globals: &Globals,
) -> Result<Option<i64>, SourceError> {
    let given = options.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str);
    let text = given.or_else(|| globals.values.get("SOURCE_DATE_EPOCH")).unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    // The last second that RFC 3339 can write, of year 9999.
    let seconds = text.parse().ok().filter(|seconds| (0..253_402_300_800).contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        SourceError::new(format_args!(
            "invalid SOURCE_DATE_EPOCH: {text}: it is the number of seconds since 1970"
        ))
    })
}
