//! Stages and what they need of each other, before anything in them is expanded.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use hull_oci::{Platform, Reference};

use super::globals::Globals;
use super::{Base, Options, Source, StageId};
use crate::instruction::{Dockerfile, Instruction, Stage, Statement};
use crate::lint::{Linter, Rule};
use crate::parse::Wrong;
use crate::shell::{Expanded, Lexer, Variables};
use crate::{Lines, SourceError, mount, suggest};

/// A stage of the file.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) stage: &'a Stage,
    pub(super) base: Base,
    /// `FROM --platform`.
    pub(super) platform: Option<Platform>,
    /// For display.
    pub(super) name: String,
    pub(super) commands: Vec<Command<'a>>,
    /// Global arguments that its `FROM` uses.
    pub(super) used: BTreeSet<String>,
    /// Whether a named context stands in its place, the whole of it.
    is_replaced: bool,
}

/// An instruction of a stage or of its base.
#[derive(Debug, Clone)]
pub(super) struct Command<'a> {
    pub(super) statement: Cow<'a, Statement>,
    pub(super) on_build: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    dockerfile: &'a Dockerfile,
    pub(super) nodes: Vec<Node<'a>>,
    /// The last stage of each name.
    names: BTreeMap<String, StageId>,
    named_contexts: BTreeSet<String>,
    /// Contexts that are stages.
    named_stages: BTreeMap<String, String>,
}

impl<'a> Nodes<'a> {
    /// Expands what the stages begin with.
    pub(super) fn new(
        dockerfile: &'a Dockerfile,
        options: &Options,
        globals: &Globals,
        linter: &mut Linter,
    ) -> Result<Self, SourceError> {
        let mut nodes = Self {
            dockerfile,
            nodes: Vec::new(),
            names: BTreeMap::new(),
            named_contexts: options.named_contexts.clone(),
            named_stages: options.named_stages.clone(),
        };
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            nodes.add(index, stage, globals, linter)?;
        }
        nodes.check_references()?;
        nodes.name_the_only_one();
        Ok(nodes)
    }

    fn add(
        &mut self,
        index: usize,
        stage: &'a Stage,
        globals: &Globals,
        linter: &mut Linter,
    ) -> Result<(), SourceError> {
        let at = |wrong: Wrong| wrong.at(stage.lines, &self.dockerfile.source);
        let expand = |text: &str| {
            let lexer = Lexer::new(self.dockerfile.directives.escape);
            lexer.expand(text, &globals.values).map_err(|error| at(Wrong::new(error).word(text)))
        };
        let base = expand(&stage.base)?;
        report_undeclared(&base, stage, globals, linter);
        if base.text.is_empty() {
            let message = format!("base name ({}) should not be blank", stage.base);
            let hint =
                base.unmatched.iter().find_map(|name| suggest::hint(name, globals.values.names()));
            return Err(at(Wrong::new(message).word(&stage.base).hint(hint)));
        }
        let mut used = base.matched;
        let mut platform = None;
        if let Some(text) = &stage.platform {
            let expanded = expand(text)?;
            report_undeclared(&expanded, stage, globals, linter);
            report_platform(text, &expanded, stage, globals, linter);
            let hint = expanded
                .unmatched
                .iter()
                .find_map(|name| suggest::hint(name, globals.values.names()));
            if expanded.text.is_empty() {
                let message = format!("empty platform value from expression {text}");
                return Err(at(Wrong::new(message).word(text).hint(hint)));
            }
            let parsed = expanded.text.parse::<Platform>().map_err(|error| {
                at(Wrong::new(format_args!("failed to parse platform {text}: {error}"))
                    .word(text)
                    .hint(hint))
            })?;
            platform = Some(parsed);
            used.extend(expanded.matched);
        }
        let base = self.base(stage, &base.text).map_err(at)?;
        let name = stage.name.clone().unwrap_or_else(|| format!("stage-{index}"));
        let is_replaced = self.replacing(stage).is_some();
        let commands = match is_replaced {
            true => Vec::new(),
            false => {
                let own =
                    |statement| Command { statement: Cow::Borrowed(statement), on_build: false };
                stage.statements.iter().map(own).collect()
            }
        };
        self.nodes.push(Node { stage, base, platform, name, commands, used, is_replaced });
        if let Some(name) = &stage.name {
            self.names.insert(name.clone(), StageId(index));
        }
        Ok(())
    }

    /// What a `FROM` means.
    fn base(&self, stage: &Stage, text: &str) -> Result<Base, Wrong> {
        if let Some(name) = self.replacing(stage) {
            return self.begin_with(name);
        }
        if let Some(id) = self.names.get(&text.to_lowercase()) {
            return Ok(Base::Stage(*id));
        }
        if text == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some(name) = self.named_context(text) {
            return self.begin_with(&name);
        }
        let parsed = text.parse::<Reference>();
        parsed.map(|_| Base::Image(text.to_owned())).map_err(|error| {
            let names = self.names.keys().map(String::as_str);
            Wrong::new(format_args!("failed to parse stage name {text:?}: {error}"))
                .word(&stage.base)
                .hint(suggest::hint(text, names))
        })
    }

    /// The name of the context that stands in the place of a whole stage.
    fn replacing(&self, stage: &'a Stage) -> Option<&'a String> {
        stage.name.as_ref().filter(|name| self.named_contexts.contains(*name))
    }

    /// A stage that begins with a named context: another stage has to come before it.
    fn begin_with(&self, context: &str) -> Result<Base, Wrong> {
        let Some(stage) = self.named_stages.get(context) else {
            return Ok(Base::Named(context.to_owned()));
        };
        let found = self.names.get(&stage.to_lowercase()).copied();
        found.map(Base::Stage).ok_or_else(|| {
            Wrong::new(format_args!(
                "build context {context} is target:{stage}, and no stage before this one is called {stage}"
            ))
            .hint(suggest::hint(stage, self.names.keys().map(String::as_str)))
        })
    }

    /// The stage that `--from` names, if it names one.
    fn stage_called(&self, from: &str) -> Result<Option<StageId>, Wrong> {
        if !from.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(self.names.get(&from.to_lowercase()).copied());
        }
        let index = from.parse().ok().filter(|index| *index < self.nodes.len());
        let index = index
            .ok_or_else(|| Wrong::new(format_args!("invalid stage index {from}")).word(from))?;
        Ok(Some(StageId(index)))
    }

    /// The name of the context that stands for what is called `text`.
    fn named_context(&self, text: &str) -> Option<String> {
        let lower = text.to_lowercase();
        if matches!(lower.as_str(), "scratch" | "context") {
            return None;
        }
        let familiar = text.parse::<Reference>().ok().map(|reference| {
            let familiar = reference.familiar();
            familiar.strip_suffix(":latest").map_or(familiar.clone(), str::to_owned)
        });
        [Some(lower), familiar]
            .into_iter()
            .flatten()
            .find(|name| self.named_contexts.contains(name))
    }

    /// What `--from` of a command in stage `user` means.
    pub(super) fn source(&self, from: &str, user: StageId) -> Result<Source, Wrong> {
        let mut id = self.stage_called(from)?;
        if let (None, Some(name)) = (id, self.named_context(from))
            && let Some(stage) = self.named_stages.get(&name)
        {
            id = Some(self.stage_called(stage)?.ok_or_else(|| {
                let names = self.names.keys().map(String::as_str);
                Wrong::new(format_args!(
                    "build context {name} is target:{stage}, and no stage is called {stage}"
                ))
                .word(from)
                .hint(suggest::hint(stage, names))
            })?);
        }
        match id {
            Some(id) if id == user => Err(self.circular(user, from)),
            Some(id) if id > user => Err(match self.needs_transitively(id, user) {
                true => self.circular(user, from),
                false => Wrong::new(format_args!(
                    "cannot copy from stage {from:?}, it needs to be defined before current stage {:?}",
                    self.nodes[user.0].name
                ))
                .word(from),
            }),
            Some(id) => Ok(match &self.nodes[id.0] {
                // Its files are there as they are: no layer has to be made of them.
                Node { base: Base::Named(name), is_replaced: true, .. } => {
                    Source::Named(name.clone())
                }
                _ => Source::Stage(id),
            }),
            None if from.eq_ignore_ascii_case("scratch") => Ok(Source::Scratch),
            None => {
                if let Some(name) = self.named_context(from) {
                    return Ok(Source::Named(name));
                }
                let names = || self.names.keys().map(String::as_str);
                from.parse::<Reference>().map(|_| Source::Image(from.to_owned())).map_err(|error| {
                    Wrong::new(format_args!("failed to parse stage name {from:?}: {error}"))
                        .word(from)
                        .hint(suggest::hint(from, names()))
                })
            }
        }
    }

    fn circular(&self, stage: StageId, from: &str) -> Wrong {
        let name = &self.nodes[stage.0].name;
        Wrong::new(format_args!("circular dependency detected on stage: {name}")).word(from)
    }

    /// Whether stage `id` needs `wanted`, directly or through others.
    fn needs_transitively(&self, id: StageId, wanted: StageId) -> bool {
        let mut seen = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let node = &self.nodes[id.0];
            let base = match node.base {
                Base::Stage(base) => Some(base),
                _ => None,
            };
            let named = node.commands.iter().flat_map(|command| sources(&command.statement));
            let needed = named.filter_map(|from| self.stage_called(&from).ok().flatten());
            for next in base.into_iter().chain(needed) {
                if next == wanted {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }

    /// Every `--from` of every stage, needed or not.
    fn check_references(&self) -> Result<(), SourceError> {
        for (index, node) in self.nodes.iter().enumerate() {
            for command in &node.commands {
                for from in sources(&command.statement) {
                    check_constant(&from)
                        .and_then(|()| self.source(&from, StageId(index)))
                        .map_err(|wrong| {
                            wrong.at(command.statement.lines, &self.dockerfile.source)
                        })?;
                }
            }
        }
        Ok(())
    }

    /// Stages that this one's commands use files of.
    pub(super) fn needs(&self, id: StageId) -> BTreeSet<StageId> {
        let commands = &self.nodes[id.0].commands;
        let named = commands.iter().flat_map(|command| sources(&command.statement));
        named
            .filter_map(|from| match self.source(&from, id) {
                Ok(Source::Stage(needed)) => Some(needed),
                _ => None,
            })
            .collect()
    }

    /// A single stage has no name in displays, unless it copies from elsewhere.
    fn name_the_only_one(&mut self) {
        let [node] = self.nodes.as_mut_slice() else { return };
        if node.commands.iter().all(|command| sources(&command.statement).is_empty()) {
            node.name.clear();
        }
    }

    /// The stage that `--target` names, or the last one.
    pub(super) fn target(&self, target: Option<&str>) -> Result<StageId, SourceError> {
        let last = StageId(self.nodes.len() - 1);
        let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(last) };
        if let Some(id) = self.names.get(&target.to_lowercase()) {
            return Ok(*id);
        }
        if let Some(index) = target.parse().ok().filter(|index| *index < self.nodes.len()) {
            return Ok(StageId(index));
        }
        let names = self.names.keys().map(String::as_str);
        Err(SourceError::new(format_args!("target stage {target:?} could not be found"))
            .hint(suggest::hint(target, names)))
    }

    /// Stages that `target` needs, itself too.
    pub(super) fn reachable(&self, target: StageId) -> BTreeSet<StageId> {
        let mut reached = BTreeSet::from([target]);
        let mut open = vec![target];
        while let Some(id) = open.pop() {
            let mut next = self.needs(id);
            if let Base::Stage(base) = self.nodes[id.0].base {
                next.insert(base);
            }
            open.extend(next.into_iter().filter(|id| reached.insert(*id)));
        }
        reached
    }
}

/// What `--from` of a statement names, in order.
pub(super) fn sources(statement: &Statement) -> Vec<String> {
    match &statement.instruction {
        Instruction::Copy(copy) => copy.from.iter().cloned().collect(),
        Instruction::Run(run) => {
            run.mounts.iter().filter_map(|text| mount::from_of(text)).collect()
        }
        _ => Vec::new(),
    }
}

fn check_constant(from: &str) -> Result<(), Wrong> {
    let expanded = Lexer::new('\\').expand(from, &crate::shell::Nothing);
    if expanded.is_ok_and(|expanded| expanded.text == from) {
        return Ok(());
    }
    let hint =
        "define a new stage with FROM using ARG from global scope as a workaround".to_owned();
    Err(Wrong::new(format_args!("variable expansion is not supported for --from: {from}"))
        .word(from)
        .hint(Some(hint)))
}

fn report_undeclared(expanded: &Expanded, stage: &Stage, globals: &Globals, linter: &mut Linter) {
    for name in &expanded.unmatched {
        if globals.declared.contains_key(name) {
            continue;
        }
        let names = globals.values.names().chain(globals.declared.keys().map(String::as_str));
        let meant = suggest::nearest(name, names, true)
            .map(|meant| format!(" (did you mean {meant}?)"))
            .unwrap_or_default();
        let detail = format!("FROM argument '{name}' is not declared{meant}");
        linter.report(Rule::UndefinedArgInFrom, stage.lines, &stage.comments, detail);
    }
}

fn report_platform(
    text: &str,
    expanded: &Expanded,
    stage: &Stage,
    globals: &Globals,
    linter: &mut Linter,
) {
    let constant = expanded.matched.is_empty() && expanded.unmatched.is_empty();
    let target = globals.values.get("TARGETPLATFORM");
    let only_target = expanded.unmatched.is_empty()
        && expanded.matched.len() == 1
        && expanded.matched.contains("TARGETPLATFORM");
    if only_target && Some(expanded.text.as_str()) == target {
        let detail = format!(
            "Setting platform to predefined {text} in FROM is redundant as this is the default behavior"
        );
        linter.report(Rule::RedundantTargetPlatform, stage.lines, &stage.comments, detail);
    }
    if !constant {
        return;
    }
    let Ok(platform) = expanded.text.parse::<Platform>() else { return };
    let name = stage.name.as_deref().unwrap_or_default();
    if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
        let detail =
            format!("FROM --platform flag should not use constant value {:?}", expanded.text);
        linter.report(Rule::FromPlatformFlagConstDisallowed, stage.lines, &stage.comments, detail);
    }
}

/// The lines of a trigger are those of the `FROM` that brings it.
pub(super) fn trigger<'a>(mut statement: Statement, lines: Lines) -> Command<'a> {
    statement.lines = lines;
    Command { statement: Cow::Owned(statement), on_build: true }
}
