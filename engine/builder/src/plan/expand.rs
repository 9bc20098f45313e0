//! One stage: its instructions, expanded one after the other.

use std::collections::BTreeSet;

use hull_oci::{Healthcheck, History, ImageConfig, Platform, RuntimeConfig};

use super::graph::{Command, Nodes};
use super::step::{
    Action, CopySource, CopyStep, RunMount, RunStep, Script, Source, Step, WorkdirStep,
};
use super::{Base, BaseImage, Globals, Options, StageId, StagePlan, globals, ports, words};
use crate::instruction::{
    Argument, CommandLine, Copy, Dockerfile, Heredoc, Instruction, Pair, Run, Statement,
};
use crate::lint::{Linter, Rule};
use crate::mount::{Kind, Mount};
use crate::parse::{Wrong, chomp, parse_heredoc};
use crate::remote::{GitRemote, Remote};
use crate::shell::{Environment, Lexer, Variables};
use crate::{Lines, SourceError, duration, suggest};

/// The path of images that have none. Spec: image-spec has no default; this is Docker's.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const COMMENT: &str = "buildkit.dockerfile.v0";

/// Arguments that steer the builder and are in no environment.
const STEERING: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// How many ports one stage may expose: ranges are spelt out.
const MAX_PORTS: usize = 100_000;

/// What a stage leaves to one that begins with it, beside its image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// Variables of image and arguments.
    environment: Environment,
    /// Arguments in the order of their declaration, the same name perhaps twice.
    pub(crate) arguments: Vec<(String, Option<String>)>,
    workdir_set: bool,
    /// Whether all variables of the base are known.
    is_known: bool,
    pub(crate) outline: crate::outline::Stage,
}

/// Whether a stage asks for an argument.
pub(super) fn declares(stage: &StagePlan, name: &str) -> bool {
    stage.state.arguments.iter().any(|(declared, _)| declared == name)
}

/// What is needed to expand a stage.
pub(super) struct Expansion<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a Options,
    pub(super) globals: &'a Globals,
    pub(super) nodes: &'a Nodes<'a>,
    pub(super) id: StageId,
    pub(super) platform: Platform,
    pub(super) target_platform: &'a Platform,
    pub(super) base: Option<&'a StagePlan>,
    pub(super) supplied: Option<&'a BaseImage>,
    pub(super) no_cache: bool,
    pub(super) created: Option<String>,
}

/// A stage at work.
struct Stage<'a> {
    of: &'a Expansion<'a>,
    image: ImageConfig,
    config: RuntimeConfig,
    state: State,
    steps: Vec<Step>,
    needs: BTreeSet<StageId>,
    /// Steps that are shown, and which is next.
    total: usize,
    index: usize,
    cmd: Option<Lines>,
    entrypoint: Option<Lines>,
    healthcheck: Option<Lines>,
}

impl Expansion<'_> {
    /// Expands the stage.
    pub(super) fn run(&self, linter: &mut Linter) -> Result<StagePlan, SourceError> {
        let node = &self.nodes.nodes[self.id.0];
        let (image, state) = self.inherited();
        let mut stage = Stage {
            of: self,
            config: image.runtime(),
            image,
            state,
            steps: Vec::new(),
            needs: BTreeSet::new(),
            total: self.total(),
            index: 0,
            cmd: None,
            entrypoint: None,
            healthcheck: None,
        };
        let inherited_history = stage.image.history.len();
        stage.begin();
        let base_display = match (&node.base, self.supplied) {
            (Base::Named(name), Some(BaseImage { is_files: true, .. })) => {
                stage.begin_with_files(name, node.stage.lines);
                None
            }
            (Base::Image(_) | Base::Named(_), Some(image)) => {
                let text = format!("FROM {}", image.resolved);
                Some(stage.display(&text, false))
            }
            _ => None,
        };
        for command in &node.commands {
            let lines = command.statement.lines;
            stage
                .command(command, linter)
                .map_err(|wrong| wrong.at(lines, &self.dockerfile.source))?;
        }
        stage.image.config = Some(stage.config);
        Ok(StagePlan {
            id: self.id,
            name: node.name.clone(),
            base: node.base.clone(),
            base_display,
            lines: node.stage.lines,
            platform: self.platform.clone(),
            steps: stage.steps,
            needs: stage.needs,
            no_cache: self.no_cache,
            image: stage.image,
            inherited_history,
            state: stage.state,
        })
    }

    /// What the stage begins with.
    fn inherited(&self) -> (ImageConfig, State) {
        let node = &self.nodes.nodes[self.id.0];
        let (mut image, mut state) = match (self.base, self.supplied) {
            (Some(base), _) => (base.image.clone(), base.state.clone()),
            (None, Some(supplied)) => {
                let state = State { is_known: supplied.is_known, ..State::default() };
                (supplied.config.clone(), state)
            }
            (None, None) => {
                (empty_image(self.target_platform), State { is_known: true, ..State::default() })
            }
        };
        image.created = None;
        image.config.get_or_insert_default().on_build.clear();
        state.outline.begin(&node.used);
        (image, state)
    }

    /// How many of its steps are shown: a base that is fetched, and what makes layers.
    fn total(&self) -> usize {
        let node = &self.nodes.nodes[self.id.0];
        let base = usize::from(!matches!(node.base, Base::Scratch | Base::Stage(_)));
        let shown = |command: &&Command<'_>| {
            command.on_build
                || matches!(
                    command.statement.instruction,
                    Instruction::Add(_)
                        | Instruction::Copy(_)
                        | Instruction::Run(_)
                        | Instruction::Workdir(_)
                )
        };
        base + node.commands.iter().filter(shown).count()
    }
}

fn empty_image(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        os: platform.os.clone(),
        config: Some(RuntimeConfig { working_dir: "/".to_owned(), ..RuntimeConfig::default() }),
        ..ImageConfig::default()
    }
}

impl Stage<'_> {
    /// Applies the base's config.
    fn begin(&mut self) {
        let has_path = self.config.env.iter().any(|line| line.split('=').next() == Some("PATH"));
        if !has_path && self.of.platform.os != "windows" {
            self.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for line in &self.config.env {
            self.state.environment.set_line(line);
        }
        if !self.config.working_dir.is_empty() {
            self.config.working_dir = words::absolute("/", &self.config.working_dir, false);
        }
    }

    /// Puts a step before all others that copies what a named context holds.
    fn begin_with_files(&mut self, name: &str, lines: Lines) {
        let display = self.display(&format!("FROM {name}"), false);
        let history = self.remember(format!("FROM {name} # build context"), false);
        let step = CopyStep {
            is_add: false,
            sources: vec![CopySource::Path("/".to_owned())],
            from: Source::Named(name.to_owned()),
            destination: "/".to_owned(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            unpack: None,
            keep_git_dir: false,
            of_context: false,
        };
        let (action, history) = (Action::Copy(Box::new(step)), Some(history));
        self.steps.push(Step { action, lines, display, history, on_build: false });
    }

    fn cwd(&self) -> String {
        match self.config.working_dir.as_str() {
            "" => "/".to_owned(),
            directory => directory.to_owned(),
        }
    }

    /// `[stage 2/5] text`; counts.
    fn display(&mut self, text: &str, on_build: bool) -> String {
        self.index += 1;
        let node = &self.of.nodes.nodes[self.of.id.0];
        let mut shown = "[".to_owned();
        if self.of.options.multi_platform {
            shown.push_str(&self.of.platform.to_string());
            shown.push(' ');
        }
        if !node.name.is_empty() {
            shown.push_str(&node.name);
            shown.push(' ');
        }
        let width = self.total.max(1).to_string().len();
        let (index, total) = (self.index, self.total);
        let on_build = if on_build { "ONBUILD " } else { "" };
        format!("{shown}{index:width$}/{total}] {on_build}{text}")
    }

    /// A statement's text for display, variables expanded where they are set.
    fn shown(&self, text: &str, lexer: Lexer, variables: &dyn Variables) -> String {
        let expanded = lexer.expand(text, variables);
        words::capital_keyword(&expanded.map_or_else(|_| text.to_owned(), |expanded| expanded.text))
    }

    fn command(&mut self, command: &Command<'_>, linter: &mut Linter) -> Result<(), Wrong> {
        let statement = &*command.statement;
        let mut at = At { statement, on_build: command.on_build, linter };
        match &statement.instruction {
            Instruction::Add(copy) => self.copy(copy, true, &mut at)?,
            Instruction::Arg(arguments) => self.arg(arguments, &mut at)?,
            Instruction::Cmd(line) => self.cmd(line, &mut at),
            Instruction::Copy(copy) => self.copy(copy, false, &mut at)?,
            Instruction::Entrypoint(line) => self.entrypoint(line, &mut at),
            Instruction::Env(pairs) => self.env(pairs, &mut at)?,
            Instruction::Expose(ports) => self.expose(ports, &mut at)?,
            Instruction::Healthcheck(probe) => {
                self.used_once(self.healthcheck, &mut at);
                self.healthcheck = Some(statement.lines);
                self.config.healthcheck = Some(probe.clone());
                self.changed(&health_text(probe), &at);
            }
            Instruction::Label(pairs) => self.label(pairs, &mut at)?,
            Instruction::Maintainer(name) => {
                self.image.author.clone_from(name);
                self.changed(&format!("MAINTAINER {name}"), &at);
            }
            Instruction::Onbuild(text) => {
                self.config.on_build.push(text.clone());
                self.push(Action::Config, String::new(), None, &at);
            }
            Instruction::Run(run) => self.run(run, &mut at)?,
            Instruction::Shell(shell) => {
                self.config.shell.clone_from(shell);
                self.changed(&format!("SHELL {}", words::list(shell)), &at);
            }
            Instruction::Stopsignal(signal) => {
                let signal = self.expand(signal, &mut at)?;
                if !is_signal(&signal) {
                    return Err(Wrong::new(format_args!("invalid signal: {signal}")).word(&signal));
                }
                self.changed(&format!("STOPSIGNAL {signal}"), &at);
                self.config.stop_signal = signal;
            }
            Instruction::User(user) => {
                let user = self.expand(user, &mut at)?;
                self.changed(&format!("USER {user}"), &at);
                self.config.user = user;
            }
            Instruction::Volume(volumes) => {
                let volumes = volumes.iter().map(|volume| self.expand(volume, &mut at));
                let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
                if volumes.iter().any(String::is_empty) {
                    return Err(Wrong::new("VOLUME specified can not be an empty string"));
                }
                self.changed(&format!("VOLUME {}", words::list(&volumes)), &at);
                self.config.volumes.extend(volumes);
            }
            Instruction::Workdir(path) => self.workdir(path, &mut at)?,
        }
        Ok(())
    }

    /// Expands a word; reports variables that are not set.
    fn expand(&self, text: &str, at: &mut At<'_>) -> Result<String, Wrong> {
        self.expand_with(Lexer::new(self.of.dockerfile.directives.escape), text, at)
    }

    fn expand_with(&self, lexer: Lexer, text: &str, at: &mut At<'_>) -> Result<String, Wrong> {
        let expanded = lexer
            .expand(text, &self.state.environment)
            .map_err(|error| Wrong::new(error).word(text))?;
        self.report_unset(&expanded.unmatched, at);
        Ok(expanded.text)
    }

    fn report_unset(&self, names: &BTreeSet<String>, at: &mut At<'_>) {
        if !self.state.is_known {
            return;
        }
        for name in names {
            let declared = self.state.arguments.iter().any(|(declared, _)| declared == name);
            if declared || STEERING.contains(&name.as_str()) {
                continue;
            }
            let meant = suggest::nearest(name, self.state.environment.names(), false)
                .map(|meant| format!(" (did you mean ${meant}?)"))
                .unwrap_or_default();
            at.report(Rule::UndefinedVar, format!("Usage of undefined variable '${name}'{meant}"));
        }
    }

    /// Remembers an instruction that made no layer.
    fn changed(&mut self, text: &str, at: &At<'_>) {
        let history = self.remember(text.to_owned(), true);
        self.push(Action::Config, String::new(), Some(history), at);
    }

    fn remember(&mut self, created_by: String, empty_layer: bool) -> usize {
        self.image.history.push(History {
            created: self.of.created.clone(),
            created_by,
            comment: COMMENT.to_owned(),
            empty_layer,
            ..History::default()
        });
        self.image.history.len() - 1
    }

    fn push(&mut self, action: Action, display: String, history: Option<usize>, at: &At<'_>) {
        let (lines, on_build) = (at.statement.lines, at.on_build);
        self.steps.push(Step { action, lines, display, history, on_build });
    }

    fn used_once(&self, before: Option<Lines>, at: &mut At<'_>) {
        let Some(lines) = before else { return };
        let name = &at.statement.keyword;
        let detail = format!(
            "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        );
        at.linter.report(
            Rule::MultipleInstructionsDisallowed,
            lines,
            &at.statement.comments,
            detail,
        );
    }

    fn arg(&mut self, arguments: &[Argument], at: &mut At<'_>) -> Result<(), Wrong> {
        let mut texts = Vec::new();
        for argument in arguments {
            at.report_secret("ARG", &argument.name);
            let given = self.of.options.build_args.get(&argument.name).cloned();
            let (value, is_global) = match (given, &argument.default) {
                (Some(given), _) => (Some(given), false),
                (None, Some(default)) => (Some(self.expand(default, at)?), false),
                (None, None) => {
                    let global = self.of.globals.values.get(&argument.name).map(str::to_owned);
                    let is_global = global.is_some();
                    (global, is_global)
                }
            };
            if let Some(value) = &value
                && !STEERING.contains(&argument.name.as_str())
            {
                self.state.environment.set(&argument.name, value);
            }
            self.state.outline.argument(argument, value.as_deref(), is_global, at.statement.lines);
            texts.push(match &value {
                Some(value) => format!("{}={value}", argument.name),
                None => argument.name.clone(),
            });
            self.state.arguments.push((argument.name.clone(), value));
        }
        self.changed(&format!("ARG {}", texts.join(" ")), at);
        Ok(())
    }

    fn pairs(&self, pairs: &[Pair], at: &mut At<'_>) -> Result<Vec<(String, String)>, Wrong> {
        let name = at.statement.instruction.name();
        if pairs.iter().any(|pair| pair.legacy) {
            let detail = format!(
                "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
            );
            at.report(Rule::LegacyKeyValueFormat, detail);
        }
        pairs
            .iter()
            .map(|pair| {
                let key = self.expand(&pair.name, at)?;
                if key.is_empty() {
                    let message = format!("{name} names can not be blank: {} is empty", pair.name);
                    return Err(Wrong::new(message).word(&pair.name));
                }
                Ok((key, self.expand(&pair.value, at)?))
            })
            .collect()
    }

    fn env(&mut self, pairs: &[Pair], at: &mut At<'_>) -> Result<(), Wrong> {
        let mut text = "ENV".to_owned();
        for (name, value) in self.pairs(pairs, at)? {
            at.report_secret("ENV", &name);
            let line = format!("{name}={value}");
            text.push(' ');
            text.push_str(&line);
            self.state.environment.set(&name, &value);
            let same = |old: &&mut String| old.split('=').next() == Some(name.as_str());
            match self.config.env.iter_mut().find(same) {
                Some(old) => *old = line,
                None => self.config.env.push(line),
            }
        }
        self.changed(&text, at);
        Ok(())
    }

    fn label(&mut self, pairs: &[Pair], at: &mut At<'_>) -> Result<(), Wrong> {
        let mut text = "LABEL".to_owned();
        for (name, value) in self.pairs(pairs, at)? {
            text.push_str(&format!(" {name}={value}"));
            self.config.labels.insert(name, value);
        }
        self.changed(&text, at);
        Ok(())
    }

    /// Program and arguments; text goes to the shell of this point.
    fn with_shell(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => {
                let mut words = self.config.shell.clone();
                if words.is_empty() {
                    words = vec!["/bin/sh".to_owned(), "-c".to_owned()];
                }
                words.push(text.clone());
                words
            }
        }
    }

    fn report_shell_form(&self, line: &CommandLine, at: &mut At<'_>) {
        if matches!(line, CommandLine::Shell(_)) && self.config.shell.is_empty() {
            let name = at.statement.keyword.clone();
            let detail = format!(
                "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
            );
            at.report(Rule::JsonArgsRecommended, detail);
        }
    }

    fn cmd(&mut self, line: &CommandLine, at: &mut At<'_>) {
        self.used_once(self.cmd, at);
        self.cmd = Some(at.statement.lines);
        self.report_shell_form(line, at);
        self.config.cmd = self.with_shell(line);
        self.config.args_escaped = true;
        self.changed(&format!("CMD {}", words::quoted_list(&self.config.cmd)), at);
    }

    fn entrypoint(&mut self, line: &CommandLine, at: &mut At<'_>) {
        self.used_once(self.entrypoint, at);
        self.entrypoint = Some(at.statement.lines);
        self.report_shell_form(line, at);
        self.config.entrypoint = self.with_shell(line);
        if self.cmd.is_none() {
            self.config.cmd.clear();
        }
        self.changed(&format!("ENTRYPOINT {}", words::quoted_list(&self.config.entrypoint)), at);
    }

    fn expose(&mut self, given: &[String], at: &mut At<'_>) -> Result<(), Wrong> {
        let lexer = Lexer::new(self.of.dockerfile.directives.escape);
        let mut exposed = Vec::new();
        for word in given {
            let expanded = lexer
                .expand(word, &self.state.environment)
                .map_err(|error| Wrong::new(error).word(word))?;
            self.report_unset(&expanded.unmatched, at);
            for port in &expanded.words {
                let parsed = ports::parse(port).map_err(|error| Wrong::new(error).word(word))?;
                exposed.extend(parsed);
                if ports::names_host(port) {
                    let detail = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
                    );
                    at.report(Rule::ExposeInvalidFormat, detail);
                }
                if let Some((_, protocol)) = port.split_once('/')
                    && protocol.chars().any(char::is_uppercase)
                {
                    let detail = format!(
                        "Defined protocol '{protocol}' in EXPOSE instruction should be lowercase"
                    );
                    at.report(Rule::ExposeProtoCasing, detail);
                }
            }
        }
        self.changed(&format!("EXPOSE {}", words::list(&exposed)), at);
        self.config.exposed_ports.extend(exposed);
        if self.config.exposed_ports.len() > MAX_PORTS {
            return Err(Wrong::new(format_args!("more than {MAX_PORTS} ports are exposed")));
        }
        Ok(())
    }

    fn workdir(&mut self, path: &str, at: &mut At<'_>) -> Result<(), Wrong> {
        let path = self.expand(path, at)?;
        if !self.state.workdir_set && !path.starts_with('/') {
            let detail = format!(
                "Relative workdir {path:?} can have unexpected results if the base image changes"
            );
            at.report(Rule::WorkdirRelativePath, detail);
        }
        self.state.workdir_set = true;
        let directory = words::absolute(&self.cwd(), &path, false);
        self.config.working_dir.clone_from(&directory);
        let text = format!("WORKDIR {directory}");
        if directory == "/" {
            self.changed(&text, at);
            return Ok(());
        }
        let lexer = Lexer::new(self.of.dockerfile.directives.escape);
        let shown = self.shown(&at.statement.text, lexer, &self.state.environment);
        let display = self.display(&shown, at.on_build);
        let history = self.remember(text, false);
        let step = WorkdirStep { path: directory, user: self.config.user.clone() };
        self.push(Action::Workdir(step), display, Some(history), at);
        Ok(())
    }

    fn run(&mut self, run: &Run, at: &mut At<'_>) -> Result<(), Wrong> {
        let mut shown = at.statement.text.clone();
        let mut script = None;
        let mut args = self.with_shell(&run.command);
        if let (CommandLine::Shell(text), [first, ..]) = (&run.command, run.heredocs.as_slice()) {
            let body = if first.chomp { chomp(&first.data) } else { first.data.clone() };
            if parse_heredoc(text).is_none() {
                args = self.with_shell(&CommandLine::Shell(with_bodies(text, &run.heredocs)));
            } else {
                shown.push_str(&format!(" ({})", words::summary(&first.data)));
                if body.starts_with("#!") {
                    let name = file_name(&first.name)?;
                    args = vec![format!("/dev/pipes/{name}")];
                    script = Some(Script { name, data: body });
                    // The shell of the moment stands before it all the same.
                    args = self.with_shell(&CommandLine::Shell(args.remove(0)));
                } else {
                    args = self.with_shell(&CommandLine::Shell(body));
                }
            }
        }
        let mounts = self.mounts(run, at)?;
        let mut masked = self.state.environment.clone();
        for mount in &mounts {
            if let RunMount::Secret { env: Some(name), .. } = mount {
                masked.set(name, "****");
            }
        }
        let lexer = Lexer::for_display(self.of.dockerfile.directives.escape);
        let shown = self.shown(&shown, lexer, &masked);
        let display = self.display(&shown, at.on_build);
        let text = format!("RUN {} # buildkit", self.command_text(&args));
        let history = self.remember(text, false);
        let proxy = globals::proxies(&self.of.options.build_args);
        let set = |name: &str| self.state.environment.get(name).is_some();
        let proxy = proxy.into_iter().filter(|(name, _)| !set(name)).collect();
        let step = RunStep {
            args,
            script,
            env: self.state.environment.pairs().to_vec(),
            proxy,
            cwd: self.cwd(),
            user: self.config.user.clone(),
            mounts,
            network: run.network,
            security: run.security,
            devices: run.devices.clone(),
        };
        self.push(Action::Run(Box::new(step)), display, Some(history), at);
        Ok(())
    }

    /// `|2 A=1 B=2 /bin/sh -c make`
    fn command_text(&self, args: &[String]) -> String {
        let mut arguments: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.state.arguments {
            let value = self.state.environment.get(name).or(value.as_deref()).unwrap_or_default();
            let text = format!("{name}={value}");
            match arguments.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = text,
                None => arguments.push((name, text)),
            }
        }
        let mut parts = Vec::new();
        if !arguments.is_empty() {
            parts.push(format!("|{}", arguments.len()));
            parts.extend(arguments.into_iter().map(|(_, text)| text));
        }
        parts.extend(args.iter().cloned());
        parts.join(" ")
    }

    fn source(&mut self, from: &str) -> Result<Source, Wrong> {
        let source = self.of.nodes.source(from, self.of.id)?;
        if let Source::Stage(id) = source {
            self.needs.insert(id);
        }
        Ok(source)
    }

    fn mounts(&mut self, run: &Run, at: &mut At<'_>) -> Result<Vec<RunMount>, Wrong> {
        let mut mounts = Vec::new();
        for text in &run.mounts {
            let mount = Mount::parse(text, |value| self.expand(value, at))
                .map_err(|wrong| if wrong.word.is_some() { wrong } else { wrong.word(text) })?;
            mounts.push(self.mount(mount, at.statement.lines).map_err(|wrong| wrong.word(text))?);
        }
        Ok(mounts)
    }

    fn mount(&mut self, mount: Mount, lines: Lines) -> Result<RunMount, Wrong> {
        let cwd = self.cwd();
        let absolute = |target: &str| {
            let clean = words::absolute(&cwd, target, false);
            if clean == "/" {
                return Err(Wrong::new(format_args!("invalid mount target {target:?}")));
            }
            Ok(clean)
        };
        let given = mount.target.as_deref().map(absolute).transpose()?;
        let required_target =
            || given.clone().ok_or_else(|| Wrong::new("the mount requires a target"));
        let source = words::absolute("/", mount.source.as_deref().unwrap_or("/"), false);
        let from = match (&mount.from, mount.kind) {
            (Some(from), Kind::Bind | Kind::Cache) => Some(self.source(from)?),
            _ => None,
        };
        let Mount { mode, uid, gid, required, .. } = mount;
        Ok(match mount.kind {
            Kind::Bind => RunMount::Bind {
                from: from.unwrap_or(Source::Context),
                source,
                target: required_target()?,
                writable: !mount.read_only,
            },
            Kind::Cache => {
                let target = required_target()?;
                let written = mount.target.as_deref().unwrap_or_default();
                let id = mount.id.unwrap_or_else(|| match written.starts_with('/') {
                    true => target.clone(),
                    false => words::absolute("/", written, false)[1..].to_owned(),
                });
                let namespace = self.of.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS");
                let id = match namespace.filter(|namespace| !namespace.is_empty()) {
                    Some(namespace) => format!("{namespace}/{id}"),
                    None => id,
                };
                let (read_only, sharing) = (mount.read_only, mount.sharing);
                let from = from.filter(|from| *from != Source::Scratch);
                RunMount::Cache { id, from, source, target, read_only, sharing, mode, uid, gid }
            }
            Kind::Tmpfs => RunMount::Tmpfs { target: required_target()?, size: mount.size },
            Kind::Secret => {
                let named = mount.source.or(mount.id);
                let id = named.unwrap_or_else(|| {
                    words::base_name(given.as_deref().unwrap_or_default()).to_owned()
                });
                let target = match (given, &mount.env) {
                    (Some(target), _) => Some(target),
                    (None, Some(_)) => None,
                    (None, None) => {
                        Some(format!("/run/secrets/{}", file_name(words::base_name(&id))?))
                    }
                };
                self.state.outline.secret(&id, required, lines);
                RunMount::Secret { id, target, env: mount.env, required, mode, uid, gid }
            }
            Kind::Ssh => {
                let id = mount.id.or(mount.source).unwrap_or_else(|| "default".to_owned());
                self.state.outline.ssh(&id, required, lines);
                RunMount::Ssh { id, target: given, required, mode, uid, gid }
            }
        })
    }

    fn copy(&mut self, copy: &Copy, is_add: bool, at: &mut At<'_>) -> Result<(), Wrong> {
        let name = if is_add { "ADD" } else { "COPY" };
        let optional = |text: &Option<String>, at: &mut At<'_>| match text {
            Some(text) => {
                self.expand(text, at).map(|text| Some(text).filter(|text| !text.is_empty()))
            }
            None => Ok(None),
        };
        let (chown, chmod) = (optional(&copy.chown, at)?, optional(&copy.chmod, at)?);
        let checksum = optional(&copy.checksum, at)?;
        let destination = self.expand(&copy.destination, at)?;
        let sources = copy
            .sources
            .iter()
            .map(|source| self.expand(source, at))
            .collect::<Result<Vec<_>, _>>()?;
        let inline = self.inline(copy, at)?;
        let modes = chmod.as_ref().map(|text| text.parse::<crate::mode::Modes>()).transpose();
        let modes = modes.map_err(|error| Wrong::new(error).word("--chmod"))?;
        let from = match &copy.from {
            Some(from) => self.source(from)?,
            None => Source::Context,
        };

        let mut text = name.to_owned();
        if copy.parents {
            text.push_str(" --parents");
        }
        for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some(value) = value {
                text.push_str(&format!(" --{flag}={value}"));
            }
        }
        let mut keep_git_dir = copy.keep_git_dir;
        let mut steps = Vec::new();
        let written = copy.sources.iter().zip(sources);
        for (written, source) in written.filter(|(written, _)| !is_inline(written, copy)) {
            text.push(' ');
            text.push_str(&source);
            let step = self
                .copy_source(&source, copy, is_add, checksum.as_deref(), &mut keep_git_dir, at)
                .map_err(|wrong| wrong.word(written))?;
            steps.push(step);
        }
        for (name, data) in inline {
            text.push_str(&format!(" <<{name}"));
            steps.push(CopySource::Inline { name: file_name(&name)?, data });
        }
        if let Some(checksum) = &checksum {
            check_checksum(checksum, &steps).map_err(|wrong| wrong.word("--checksum"))?;
        }
        text.push_str(&format!(" {destination} # buildkit"));
        let lexer = Lexer::new(self.of.dockerfile.directives.escape);
        let shown = self.shown(&at.statement.text, lexer, &self.state.environment);
        let display = self.display(&shown, at.on_build);
        let history = self.remember(text, false);
        let step = CopyStep {
            is_add,
            sources: steps,
            of_context: from == Source::Context,
            from,
            destination: words::absolute(&self.cwd(), &destination, true),
            chown,
            chmod: modes,
            link: copy.link,
            parents: copy.parents,
            exclude: copy.exclude.clone(),
            unpack: copy.unpack,
            keep_git_dir: keep_git_dir.unwrap_or(false),
        };
        self.push(Action::Copy(Box::new(step)), display, Some(history), at);
        Ok(())
    }

    /// Name and text of heredocs among the sources, in order.
    fn inline(&self, copy: &Copy, at: &mut At<'_>) -> Result<Vec<(String, String)>, Wrong> {
        let mut files = Vec::new();
        for source in copy.sources.iter().filter(|source| is_inline(source, copy)) {
            let Some(wanted) = parse_heredoc(source) else { continue };
            // Of two with one name the last one counts.
            let Some(heredoc) = copy.heredocs.iter().rfind(|heredoc| heredoc.name == wanted.name)
            else {
                continue;
            };
            let data = if heredoc.chomp { chomp(&heredoc.data) } else { heredoc.data.clone() };
            let data = match heredoc.expand {
                true => self.expand_with(Lexer::for_heredoc(), &data, at)?,
                false => data,
            };
            files.push((heredoc.name.clone(), data));
        }
        Ok(files)
    }

    fn copy_source(
        &self,
        source: &str,
        copy: &Copy,
        is_add: bool,
        checksum: Option<&str>,
        keep_git_dir: &mut Option<bool>,
        at: &mut At<'_>,
    ) -> Result<CopySource, Wrong> {
        let checksum = checksum.map(str::to_owned);
        match Remote::of(source) {
            Remote::Git if !is_add => {
                Err(Wrong::new("source can't be a git ref for COPY")
                    .hint(Some("use ADD".to_owned())))
            }
            Remote::Url if !is_add => {
                Err(Wrong::new("source can't be a URL for COPY").hint(Some("use ADD".to_owned())))
            }
            Remote::Url => Ok(CopySource::Url { url: source.to_owned(), checksum }),
            Remote::Git => {
                let remote = GitRemote::parse(source).map_err(Wrong::new)?;
                match (*keep_git_dir, remote.keep_git_dir) {
                    (Some(flag), Some(own)) if flag != own => {
                        return Err(Wrong::new("inconsistent keep-git-dir configuration"));
                    }
                    (_, Some(own)) => *keep_git_dir = Some(own),
                    _ => {}
                }
                let checksum = match (checksum, remote.checksum) {
                    (Some(flag), Some(own)) if flag != own => {
                        return Err(Wrong::new(format_args!(
                            "checksum mismatch {flag:?} != {own:?}"
                        )));
                    }
                    (flag, own) => own.or(flag),
                };
                Ok(CopySource::Git { remote: source.to_owned(), checksum })
            }
            Remote::Path => {
                if copy.from.is_none() {
                    self.report_ignored(source, at);
                }
                Ok(CopySource::Path(match copy.parents {
                    true => source.to_owned(),
                    false => words::absolute("/", source, false),
                }))
            }
        }
    }

    fn report_ignored(&self, source: &str, at: &mut At<'_>) {
        let ignore = &self.of.options.ignore;
        if ignore.is_empty() || ignore.includes_again() {
            return;
        }
        let path = words::absolute("/", source, false);
        let path = path.trim_start_matches('/');
        let ignored = if path.is_empty() { ignore.excludes_all() } else { ignore.excludes(path) };
        if ignored {
            let name = if at.statement.instruction.name() == "ADD" { "Add" } else { "Copy" };
            let detail =
                format!("Attempting to {name} file {path:?} that is excluded by .dockerignore");
            at.report(Rule::CopyIgnoredFile, detail);
        }
    }
}

/// The statement that is being expanded.
struct At<'a> {
    statement: &'a Statement,
    on_build: bool,
    linter: &'a mut Linter,
}

impl At<'_> {
    fn report(&mut self, rule: Rule, detail: String) {
        self.linter.report(rule, self.statement.lines, &self.statement.comments, detail);
    }

    fn report_secret(&mut self, instruction: &str, name: &str) {
        if sounds_secret(name) {
            let detail = format!(
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})"
            );
            self.report(Rule::SecretsUsedInArgOrEnv, detail);
        }
    }
}

/// Whether one of a name's words is one for secrets, and none says that it is not one itself.
fn sounds_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_any = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    let secret = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    is_any(&secret) && !is_any(&["public", "file", "version"])
}

/// Whether a source is one of the instruction's heredocs.
fn is_inline(source: &str, copy: &Copy) -> bool {
    !copy.heredocs.is_empty() && parse_heredoc(source).is_some()
}

/// What a history says of a probe: Go's `%q` of it, as the BuildKit of Docker 28 has it.
fn health_text(probe: &Healthcheck) -> String {
    let mut text = format!("HEALTHCHECK &{{{}", words::quoted_list(&probe.test));
    for time in [probe.interval, probe.timeout, probe.start_period, probe.start_interval] {
        text.push_str(&format!(" \"{}\"", duration::display(time)));
    }
    format!("{text} {}}}", words::quoted_number(probe.retries))
}

/// A command with its heredocs behind it, for the shell to read.
fn with_bodies(text: &str, heredocs: &[Heredoc]) -> String {
    let mut text = text.to_owned();
    for heredoc in heredocs {
        text.push('\n');
        text.push_str(&heredoc.data);
        text.push_str(&heredoc.name);
    }
    text
}

/// A heredoc's or secret's name as that of a file: one component.
fn file_name(name: &str) -> Result<String, Wrong> {
    match name {
        "" | "." | ".." => Err(Wrong::new(format_args!("{name:?} is no name of a file"))),
        name if name.contains(['/', '\0']) => {
            Err(Wrong::new(format_args!("{name:?} is no name of a file")))
        }
        name => Ok(name.to_owned()),
    }
}

fn check_checksum(checksum: &str, sources: &[CopySource]) -> Result<(), Wrong> {
    match sources {
        [CopySource::Url { .. }] => {
            checksum.parse::<hull_oci::Digest>().map(|_| ()).map_err(Wrong::new)
        }
        [CopySource::Git { .. }] => {
            let hex = checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hex && (7..=64).contains(&checksum.len()) {
                return Ok(());
            }
            Err(Wrong::new(format_args!("{checksum:?} is no commit")))
        }
        [_] => Err(Wrong::new("checksum requires HTTP(S) or Git sources")),
        _ => Err(Wrong::new("checksum can't be specified for multiple sources")),
    }
}

/// A number from 1 to 64, or a name with or without `SIG`.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some((base, offset)) = name.split_once(['+', '-']) {
        let offset: Option<u32> = offset.parse().ok();
        return matches!(base, "RTMIN" | "RTMAX") && offset.is_some_and(|offset| offset <= 15);
    }
    const NAMES: [&str; 36] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN", "RTMAX",
    ];
    NAMES.contains(&name)
}
