//! `--call=outline` and `--call=targets`: what a Dockerfile takes, and what it can build.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::Lines;
use crate::SourceError;
use crate::instruction::{self, Dockerfile};
use crate::plan::{Base, Globals, Options, Plan, StagePlan};

/// What a target takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The stage's name; empty if it has none.
    pub name: String,
    /// The comment that describes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Build arguments.
    pub args: Vec<Arg>,
    /// Secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Mount>,
    /// Agents of ssh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Mount>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// The comment that describes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The value it has.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Where it is declared.
    #[serde(skip)]
    pub lines: Lines,
}

/// A secret or an ssh agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Its id.
    pub name: String,
    /// Whether the build fails without.
    pub required: bool,
    /// Where it is used.
    #[serde(skip)]
    pub lines: Lines,
}

/// What can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The stage's name; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is built if nothing else is asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// The comment that describes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it begins with, as written.
    pub base: String,
    /// `--platform`, as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
}

/// What one stage says of itself while it is planned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stage {
    args: BTreeMap<String, Arg>,
    globals: BTreeSet<String>,
    secrets: BTreeMap<String, Mount>,
    ssh: BTreeMap<String, Mount>,
}

impl Stage {
    /// Adds what another stage says, of things that are not known yet.
    fn add(&mut self, other: &Self) {
        self.globals.extend(other.globals.iter().cloned());
        let pairs = [(&mut self.secrets, &other.secrets), (&mut self.ssh, &other.ssh)];
        for (mounts, others) in pairs {
            for (name, mount) in others {
                mounts.entry(name.clone()).or_insert_with(|| mount.clone());
            }
        }
        for (name, arg) in &other.args {
            self.args.entry(name.clone()).or_insert_with(|| arg.clone());
        }
    }

    /// Begins a stage on top of what its base says.
    pub(crate) fn begin(&mut self, used: &BTreeSet<String>) {
        self.globals.extend(used.iter().cloned());
    }

    pub(crate) fn argument(
        &mut self,
        argument: &instruction::Argument,
        value: Option<&str>,
        is_global: bool,
        lines: Lines,
    ) {
        if is_global {
            self.globals.insert(argument.name.clone());
            return;
        }
        let arg = Arg {
            name: argument.name.clone(),
            description: argument.description.clone().unwrap_or_default(),
            value: value.unwrap_or_default().to_owned(),
            lines,
        };
        self.args.insert(arg.name.clone(), arg);
    }

    pub(crate) fn secret(&mut self, id: &str, required: bool, lines: Lines) {
        let mount = Mount { name: id.to_owned(), required, lines };
        self.secrets.entry(id.to_owned()).or_insert(mount);
    }

    pub(crate) fn ssh(&mut self, id: &str, required: bool, lines: Lines) {
        let mount = Mount { name: id.to_owned(), required, lines };
        self.ssh.entry(id.to_owned()).or_insert(mount);
    }
}

/// The targets of a file, in its order.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    let stages = file.stages.iter().enumerate();
    stages
        .map(|(index, stage)| Target {
            name: stage.name.clone().unwrap_or_default(),
            default: index == last,
            description: description(stage),
            base: stage.base.clone(),
            platform: stage.platform.clone().unwrap_or_default(),
        })
        .collect()
}

fn description(stage: &instruction::Stage) -> String {
    let Some(name) = &stage.name else { return String::new() };
    let comment = stage.comments.iter().find_map(|comment| {
        let (first, rest) = comment.split_once(' ')?;
        first.eq_ignore_ascii_case(name).then(|| rest.trim().to_owned())
    });
    comment.unwrap_or_default()
}

/// What the target of a plan takes.
///
/// # Errors
/// The global arguments do not expand, which planning would have said.
pub fn outline(file: &Dockerfile, options: &Options, plan: &Plan) -> Result<Outline, SourceError> {
    let target = plan.target();
    let mut all = Stage::default();
    for stage in involved(plan, target) {
        all.add(&stage.state.outline);
    }
    let declared = Globals::new(file, options)?.declared;
    let mut open: Vec<String> = all.globals.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(global) = declared.get(&name).filter(|_| seen.insert(name.clone())) else {
            continue;
        };
        open.extend(global.uses.iter().cloned());
        let description = global.description.clone().unwrap_or_default();
        let value = global.value.clone().unwrap_or_default();
        all.args.entry(name.clone()).or_insert(Arg {
            name,
            description,
            value,
            lines: global.lines,
        });
    }
    let stage = &file.stages[target.id.0];
    let mut args: Vec<Arg> = all.args.into_values().collect();
    args.sort_by_key(|arg| arg.lines);
    Ok(Outline {
        name: stage.name.clone().unwrap_or_default(),
        description: description(stage),
        args,
        secrets: all.secrets.into_values().collect(),
        ssh: all.ssh.into_values().collect(),
    })
}

/// The stages that a target needs, itself too.
fn involved<'a>(plan: &'a Plan, target: &'a StagePlan) -> Vec<&'a StagePlan> {
    let mut found = vec![target];
    let mut next = 0;
    while let Some(stage) = found.get(next).copied() {
        next += 1;
        let base = match stage.base {
            Base::Stage(id) => Some(id),
            _ => None,
        };
        for id in base.into_iter().chain(stage.needs.iter().copied()) {
            if let Some(stage) = plan.stage(id)
                && found.iter().all(|known| known.id != id)
            {
                found.push(stage);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use crate::plan::Planner;

    #[test]
    fn what_a_target_takes() {
        let file = parse(
            b"# base what it is made of\nARG base=scratch\nARG unused=1\nARG of=$base\n# first does things\nFROM scratch AS first\nRUN --mount=type=secret,id=key,required --mount=type=ssh x\nARG used\n# last the last\nFROM $of AS last\n# name a name\nARG name=x used\nCOPY --from=first a /\nFROM scratch\nARG never\n",
        )
        .unwrap();
        let options = Options {
            target: Some("last".to_owned()),
            build_args: [("name".to_owned(), "given".to_owned())].into(),
            ..Options::default()
        };
        let plan = Planner::new(&file, options.clone()).unwrap().finish().unwrap();
        let outline = outline(&file, &options, &plan).unwrap();
        assert_eq!((outline.name.as_str(), outline.description.as_str()), ("last", "the last"));
        let args: Vec<_> = outline
            .args
            .iter()
            .map(|arg| (arg.name.as_str(), arg.value.as_str(), arg.description.as_str()))
            .collect();
        assert_eq!(
            args,
            [
                ("base", "scratch", "what it is made of"),
                ("of", "scratch", ""),
                ("name", "given", "a name"),
                ("used", "", ""),
            ]
        );
        assert_eq!((outline.secrets[0].name.as_str(), outline.secrets[0].required), ("key", true));
        assert_eq!((outline.ssh[0].name.as_str(), outline.ssh[0].required), ("default", false));
        let targets = targets(&file);
        assert_eq!(targets.len(), 3);
        assert_eq!((targets[0].description.as_str(), targets[0].default), ("does things", false));
        assert_eq!((targets[1].base.as_str(), targets[2].default), ("$of", true));
    }
}
