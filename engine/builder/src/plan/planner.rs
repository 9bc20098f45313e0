//! Base images in, plan out.

use std::collections::{BTreeMap, BTreeSet};

use hull_oci::Platform;

use super::expand::{self, Expansion};
use super::graph::{self, Nodes};
use super::{Base, BaseImage, Globals, Options, Plan, Source, StageId, StagePlan, Wanted, globals};
use crate::instruction::{Dockerfile, Instruction};
use crate::lint::{Checks, Linter, Rule};
use crate::parse::{Wrong, parse_trigger};
use crate::shell::Lexer;
use crate::{SourceError, lint};

/// Makes a [`Plan`]; see the module's text.
#[derive(Debug)]
pub struct Planner<'a> {
    dockerfile: &'a Dockerfile,
    options: Options,
    globals: Globals,
    nodes: Nodes<'a>,
    target: StageId,
    linter: Linter,
    supplied: BTreeMap<StageId, BaseImage>,
    /// Stages whose base's triggers are among their commands.
    triggered: BTreeSet<StageId>,
    source_date_epoch: Option<i64>,
}

impl<'a> Planner<'a> {
    /// Expands the global arguments and what the stages begin with, finds the target.
    ///
    /// # Errors
    /// A base name that is blank or does not parse, an unknown target, a stage that needs itself or
    /// one behind it.
    pub fn new(dockerfile: &'a Dockerfile, options: Options) -> Result<Self, SourceError> {
        let checks = options.build_args.get("BUILDKIT_DOCKERFILE_CHECK");
        let checks = checks.or(dockerfile.directives.check.as_ref());
        let checks = Checks::parse(checks.map_or("", String::as_str))?;
        let mut linter = Linter::new(checks);
        lint::report_file(dockerfile, &mut linter);
        let globals = Globals::new(dockerfile, &options)?;
        report_defaults(dockerfile, &options, &mut linter);
        let source_date_epoch = globals::source_date_epoch(&options, &globals)?;
        let nodes = Nodes::new(dockerfile, &options, &globals, &mut linter)?;
        let target = nodes.target(options.target.as_deref())?;
        let mut planner = Self {
            dockerfile,
            options,
            globals,
            nodes,
            target,
            linter,
            supplied: BTreeMap::new(),
            triggered: BTreeSet::new(),
            source_date_epoch,
        };
        planner.trigger_stages()?;
        Ok(planner)
    }

    /// The stages that take part.
    fn needed(&self) -> BTreeSet<StageId> {
        if self.options.all_stages {
            (0..self.nodes.nodes.len()).map(StageId).collect()
        } else {
            self.nodes.reachable(self.target)
        }
    }

    /// The configs that are still needed, in the order of the file.
    pub fn wanted(&self) -> Vec<Wanted> {
        let needed = self.needed();
        let open = needed.into_iter().filter(|id| !self.supplied.contains_key(id));
        open.filter_map(|id| {
            let node = &self.nodes.nodes[id.0];
            let base = match &node.base {
                base @ (Base::Image(_) | Base::Named(_)) => base.clone(),
                Base::Scratch | Base::Stage(_) => return None,
            };
            Some(Wanted {
                stage: id,
                base,
                platform: self.platform(id),
                explicit_platform: node.platform.is_some()
                    || self.options.target_platform.is_some(),
                lines: node.stage.lines,
            })
        })
        .collect()
    }

    /// Images whose files the stages that take part use, as written.
    pub fn images(&self) -> Vec<String> {
        let mut images = Vec::new();
        for id in self.needed() {
            for command in &self.nodes.nodes[id.0].commands {
                for from in graph::sources(&command.statement) {
                    if let Ok(Source::Image(name)) = self.nodes.source(&from, id) {
                        images.push(name);
                    }
                }
            }
        }
        images
    }

    /// What a stage is built for, before its base is known.
    fn platform(&self, id: StageId) -> Platform {
        self.nodes.nodes[id.0].platform.clone().unwrap_or_else(|| self.target_platform().clone())
    }

    fn target_platform(&self) -> &Platform {
        self.options.target_platform.as_ref().unwrap_or(&self.options.build_platform)
    }

    /// Answers one of them.
    ///
    /// # Errors
    /// The image's `ONBUILD` triggers are no instructions, or need what is not there.
    pub fn supply(&mut self, stage: StageId, image: BaseImage) -> Result<(), SourceError> {
        let triggers = image.config.runtime().on_build;
        self.supplied.insert(stage, image);
        if self.triggered.insert(stage) {
            self.trigger(stage, &triggers, true)?;
        }
        self.trigger_stages()
    }

    /// Adds the triggers that stages of this file leave to stages of this file.
    fn trigger_stages(&mut self) -> Result<(), SourceError> {
        for index in 0..self.nodes.nodes.len() {
            let Base::Stage(base) = self.nodes.nodes[index].base else { continue };
            if !self.triggered.insert(StageId(index)) {
                continue;
            }
            let commands = &self.nodes.nodes[base.0].commands;
            let triggers: Vec<String> = commands
                .iter()
                .filter_map(|command| match &command.statement.instruction {
                    Instruction::Onbuild(text) => Some(text.clone()),
                    _ => None,
                })
                .collect();
            let escape = self.dockerfile.directives.escape == '\\';
            self.trigger(StageId(index), &triggers, escape)?;
        }
        Ok(())
    }

    /// Puts triggers before a stage's own commands.
    fn trigger(
        &mut self,
        stage: StageId,
        triggers: &[String],
        backslash: bool,
    ) -> Result<(), SourceError> {
        let lines = self.nodes.nodes[stage.0].stage.lines;
        let escape = if backslash { '\\' } else { '`' };
        let mut commands = Vec::new();
        for text in triggers {
            let at = |wrong: Wrong| {
                let message = format!("ONBUILD {}: {}", super::words::summary(text), wrong.message);
                Wrong { message, ..wrong }.at(lines, &self.dockerfile.source)
            };
            let statement = parse_trigger(text, escape).map_err(at)?;
            for from in graph::sources(&statement) {
                self.nodes.source(&from, stage).map_err(at)?;
            }
            commands.push(graph::trigger(statement, lines));
        }
        let node = &mut self.nodes.nodes[stage.0];
        commands.append(&mut node.commands);
        node.commands = commands;
        Ok(())
    }

    /// Expands every step.
    ///
    /// # Errors
    /// Of any instruction; a config that is still wanted; warnings where the file wants them to be
    /// errors.
    pub fn finish(self) -> Result<Plan, SourceError> {
        let (plan, linter) = self.planned()?;
        linter.verdict()?;
        Ok(plan)
    }

    /// The warnings, and whether the file can be built at all.
    pub fn check(self) -> (Vec<lint::Warning>, Result<(), SourceError>) {
        let before = self.linter.clone();
        match self.planned() {
            Ok((plan, linter)) => (plan.warnings, linter.verdict()),
            Err(error) => (before.warnings(), Err(error)),
        }
    }

    fn planned(mut self) -> Result<(Plan, Linter), SourceError> {
        if let [wanted, ..] = self.wanted().as_slice() {
            let message = format!("the base {:?} was not supplied", wanted.base);
            return Err(SourceError::at(wanted.lines, message));
        }
        let mut linter = std::mem::take(&mut self.linter);
        let mut stages: Vec<StagePlan> = Vec::new();
        for id in self.needed() {
            let base = match self.nodes.nodes[id.0].base {
                // A stage comes behind its base in the file.
                Base::Stage(base) => stages.iter().find(|stage| stage.id == base),
                _ => None,
            };
            let stage = self.stage(id, base, &mut linter)?;
            stages.push(stage);
        }
        let target = self.target;
        if let Some(at) = stages.iter().position(|stage| stage.id == target)
            && !self.options.all_stages
        {
            // Nothing that the target needs is behind it.
            let last = stages.remove(at);
            stages.push(last);
        }
        if let Some(stage) = stages.iter_mut().find(|stage| stage.id == target) {
            self.finish_target(stage);
        }
        let plan = Plan {
            unused_build_args: self.unused(&stages),
            source_date_epoch: self.source_date_epoch,
            warnings: linter.warnings(),
            target,
            stages,
        };
        Ok((plan, linter))
    }

    fn stage(
        &self,
        id: StageId,
        base: Option<&StagePlan>,
        linter: &mut Linter,
    ) -> Result<StagePlan, SourceError> {
        let node = &self.nodes.nodes[id.0];
        let supplied = self.supplied.get(&id);
        let mut platform = base.map_or_else(|| self.platform(id), |base| base.platform.clone());
        if let Some(image) = supplied {
            let of_image = image.config.platform();
            let has_platform = !image.config.os.is_empty() && !image.config.architecture.is_empty();
            let free = node.platform.is_none() && self.options.target_platform.is_none();
            let other =
                of_image.os != platform.os || of_image.architecture != platform.architecture;
            if image.is_known && has_platform && other && matches!(node.base, Base::Image(_)) {
                let detail = format!(
                    "Base image {} was pulled with platform {:?}, expected {:?} for current build",
                    node.stage.base,
                    of_image.to_string(),
                    platform.to_string()
                );
                linter.report(
                    Rule::InvalidBaseImagePlatform,
                    node.stage.lines,
                    &node.stage.comments,
                    detail,
                );
                if free {
                    platform = of_image;
                }
            }
        }
        let no_cache = self.options.no_cache
            || node
                .stage
                .name
                .as_ref()
                .is_some_and(|name| self.options.no_cache_filter.contains(name));
        let expansion = Expansion {
            dockerfile: self.dockerfile,
            options: &self.options,
            globals: &self.globals,
            nodes: &self.nodes,
            id,
            platform,
            target_platform: self.target_platform(),
            base,
            supplied,
            no_cache,
            created: self.source_date_epoch.map(super::words::rfc3339),
        };
        expansion.run(linter)
    }

    /// What the command line says about the image as a whole.
    fn finish_target(&self, stage: &mut StagePlan) {
        let config = stage.image.config.get_or_insert_default();
        let labels = self.options.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        config.labels.extend(labels);
        if let Some(platform) = &self.options.target_platform {
            let same =
                stage.image.os == platform.os && stage.image.architecture == platform.architecture;
            stage.image.os.clone_from(&platform.os);
            stage.image.architecture.clone_from(&platform.architecture);
            if platform.variant.is_some() || !same {
                stage.image.variant.clone_from(&platform.variant);
            }
        }
        let platform = stage.image.platform();
        (stage.image.os, stage.image.architecture, stage.image.variant) =
            (platform.os, platform.architecture, platform.variant);
        stage.image.created = self.source_date_epoch.map(super::words::rfc3339);
    }

    /// `--build-arg` that nothing asks for.
    fn unused(&self, stages: &[StagePlan]) -> Vec<String> {
        let asked = |name: &str| {
            self.globals.declared.contains_key(name)
                || stages.iter().any(|stage| expand::declares(stage, name))
        };
        let names = self.options.build_args.keys();
        names.filter(|name| !globals::is_predefined(name) && !asked(name)).cloned().collect()
    }
}

/// Bases that are no images unless `--build-arg` says so.
fn report_defaults(dockerfile: &Dockerfile, options: &Options, linter: &mut Linter) {
    let Ok(defaults) = Globals::by_default(dockerfile, options) else { return };
    for stage in &dockerfile.stages {
        let lexer = Lexer::new(dockerfile.directives.escape);
        let Ok(expanded) = lexer.expand(&stage.base, &defaults.values) else { return };
        if expanded.text.parse::<hull_oci::Reference>().is_err() {
            let detail = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.base
            );
            linter.report(Rule::InvalidDefaultArgInFrom, stage.lines, &stage.comments, detail);
        }
    }
}
