//! One build, from the request to its result.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{PipeReader, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use hull_api::ErrorKind;
use hull_api::build::{BuildFailure, BuildRequest, BuildResult, Context, Explanation};
use hull_api::image::ProgressMessage;
use hull_api::registry::AuthConfigs;
use hull_builder::ignore::Ignore;
use hull_builder::instruction::Dockerfile;
use hull_builder::plan::{Action, Base, Options, Plan, Planner, Source, StageId};
use hull_builder::{Lines, SourceError};
use hull_oci::{Platform, chain_id};
use hull_store::cache::{Scratch, WorkArea};
use hull_store::layer::{Item, write_items};
use hull_store::{LayerIngest, LayerMode, LayerReport, Lease, Store};
use hull_worker::client::run as run_job;
use hull_worker::job::{Answer, Job, Limits};
use rustix::fs::{CWD, Mode, OFlags};

use super::attest::{self, Origin};
use super::bases;
use super::chain::{Chain, Link};
use super::context::{self, MAX_TEXT, Tree};
use super::export::{self, Image};
use super::external::{self, Imports, Made};
use super::named::{Contexts, Named};
use super::progress::{Activity, Progress, Stopper, cancelled, now};
use super::remote::{self, Fetcher};
use super::stage::{self, Done, Pending};
use crate::error::ApiError;
use crate::images::{ForBuilds, Images, ResolvedImage, Stop};
use crate::service::Engine;
use crate::slots::Slots;
use crate::worker_stream::failed;

/// What a layer of a build may hold.
const LIMITS: Limits = Limits { max_bytes: 1 << 40, max_entries: 4_000_000 };

/// A build of one platform, under way. Stages of all threads share it.
pub(super) struct Build<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) store: &'a Store,
    pub(super) worker: &'a Path,
    pub(super) request: &'a BuildRequest,
    pub(super) progress: &'a Progress,
    pub(super) lease: &'a Lease<'a>,
    pub(super) area: &'a WorkArea<'a>,
    pub(super) fetcher: &'a Fetcher<'a>,
    pub(super) plan: &'a Plan,
    contexts: &'a Contexts<'a>,
    pub(super) id_ranges: OwnedFd,
    /// Commands that may run at once.
    pub(super) permits: Slots,
    /// Layers that may be made at once.
    pub(super) packers: Slots,
    /// Names this build among others for explanations.
    pub(super) identity: String,
    began: String,
    file: &'a Text,
    inputs: &'a Inputs,
    bases: BTreeMap<StageId, ResolvedImage>,
    slots: BTreeMap<StageId, Slot>,
    trees: Mutex<HashMap<Source, Arc<Tree>>>,
    explanations: Mutex<Vec<Explanation>>,
    pub(super) imports: &'a Imports<'a>,
    caches: &'a [external::Target],
    made: Mutex<Vec<Pending>>,
    failure: Mutex<Option<Box<BuildFailure>>>,
}

/// Where files come from: the context and what is named beside it.
struct Inputs {
    context: Arc<Tree>,
    identity: String,
}

/// The Dockerfile.
struct Text {
    name: String,
    bytes: Vec<u8>,
    dockerfile: Dockerfile,
}

/// Where the result of a stage appears.
#[derive(Default)]
struct Slot {
    done: Mutex<Option<Option<Done>>>,
    changed: Condvar,
}

/// An answer of a worker to another question.
pub(super) fn unexpected(answer: &Answer) -> ApiError {
    ApiError::new(ErrorKind::Internal, format!("unexpected answer of a worker: {answer:?}"))
}

/// A failure that is about no step.
pub(super) fn plain(error: ApiError) -> Box<BuildFailure> {
    Box::new(BuildFailure {
        message: error.message,
        hint: error.hint,
        kind: error.kind,
        exit_code: None,
        step: String::new(),
        lines: None,
        excerpt: String::new(),
        output: Vec::new(),
    })
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl Text {
    fn failure(&self, error: &SourceError) -> Box<BuildFailure> {
        source_failure(error, &self.name, &self.dockerfile.source)
    }
}

fn source_failure(
    error: &SourceError,
    name: &str,
    source: &hull_builder::Source,
) -> Box<BuildFailure> {
    Box::new(BuildFailure {
        message: match error.lines {
            Some(lines) => format!("{name}:{}: {}", lines.start, error.message),
            None => format!("{name}: {}", error.message),
        },
        hint: error.hint.clone(),
        kind: ErrorKind::Invalid,
        exit_code: None,
        step: String::new(),
        lines: error.lines.map(|lines| (number(lines.start), number(lines.end))),
        excerpt: error.excerpt(name, source),
        output: Vec::new(),
    })
}

/// Builds. `tar` is the context where it comes as a stream.
pub(super) fn run(
    engine: &Arc<Engine>,
    request: &BuildRequest,
    credentials: &AuthConfigs,
    tar: Option<&PipeReader>,
    progress: &Progress,
) -> Result<BuildResult, Box<BuildFailure>> {
    let tell = |message: &ProgressMessage| progress.pulled(message);
    let begun = |stop: &Stop| {
        // It costs nothing to stop what is over.
        let _number = progress.stop_by(Stopper::Remote(stop.clone()));
    };
    let registries = ForBuilds { engine, credentials, tell: &tell, begun: &begun };
    let store = engine.store().map_err(plain)?;
    store.prepare_cache().map_err(|error| plain(error.into()))?;
    store.layers().settle().map_err(|error| plain(error.into()))?;
    let worker = engine.helper("hull-worker").map_err(plain)?;
    // Goes last: when its files are gone, so is everything else of the build.
    let area = store.work_area().map_err(|error| plain(error.into()))?;
    let lease = store.lease().map_err(|error| plain(error.into()))?;
    let began = now();
    let fetcher = Fetcher::new(engine, store, &worker, &area);
    begun(fetcher.stop());
    export::check(request).map_err(plain)?;
    let contexts = Contexts::new(request, store, &registries, &fetcher, &lease);
    contexts.check().map_err(plain)?;

    let activity = progress.begin("[internal] load build definition", Vec::new());
    let (file, inputs) = load(request, store, &fetcher, &area, tar)?;
    let platforms = platforms(request).map_err(plain)?;
    let mut planned = Vec::new();
    for platform in &platforms {
        let several = platforms.len() > 1;
        planned.push(plan(&contexts, &file, &inputs, platform.as_ref(), several)?);
    }
    let mut warned = BTreeSet::new();
    for warning in planned.iter().flat_map(|(plan, _)| &plan.warnings) {
        if warned.insert(warning.clone()) {
            let lines = Some((number(warning.lines.start), number(warning.lines.end)));
            let text = format!("{}: {}", warning.rule.name(), warning.detail);
            progress.warn(&activity, &text, lines);
        }
    }
    activity.done();

    let mut images = Vec::new();
    let mut explanations = Vec::new();
    let caches: Vec<_> = request.cache_to.iter().map(external::Target::parse).collect();
    let caches = caches.into_iter().collect::<Result<Vec<_>, _>>().map_err(plain)?;
    let mut imports = Vec::new();
    for (plan, _) in &planned {
        let images = Images { store, worker: &worker };
        let platform = plan.target().platform.clone();
        let imported = Imports::new(request, images, &registries, &lease, progress, platform)
            .map_err(plain)?;
        imports.push(imported);
    }
    let mut exported = Vec::new();
    for ((plan, bases), imports) in planned.iter().zip(&imports) {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        loop {
            let slots = plan.stages.iter().map(|stage| (stage.id, Slot::default())).collect();
            let build = Build {
                engine,
                store,
                worker: &worker,
                request,
                progress,
                lease: &lease,
                area: &area,
                fetcher: &fetcher,
                plan,
                contexts: &contexts,
                id_ranges: id_ranges(store).map_err(plain)?,
                permits: Slots::new(cores.max(2)),
                packers: Slots::new(cores.max(2)),
                identity: format!("{}\0{}\0{:?}", inputs.identity, file.name, request.target),
                began: began.clone(),
                file: &file,
                inputs: &inputs,
                bases: bases.clone(),
                slots,
                trees: Mutex::default(),
                explanations: Mutex::default(),
                imports,
                caches: &caches,
                made: Mutex::default(),
                failure: Mutex::default(),
            };
            // A cache that gave what it should not is left out; what was made meanwhile is known.
            let Some((image, made)) = build.execute()? else { continue };
            images.push(image);
            exported.extend(made.into_iter().map(|made| (made, imports)));
            build.keep_digests().map_err(plain)?;
            let told = build.explanations.lock().unwrap_or_else(PoisonError::into_inner);
            explanations.extend(told.iter().cloned());
            break;
        }
    }
    inputs.context.keep(store).map_err(plain)?;
    let exporting = export::Exporting {
        registries: &registries,
        store,
        worker: &worker,
        request,
        lease: &lease,
    };
    let mut result = exporting.export(&images, progress).map_err(plain)?;
    let exporting = external::Exporting {
        store,
        registries: &registries,
        worker: &worker,
        lease: &lease,
        progress,
    };
    exporting.export(&caches, &exported).map_err(plain)?;
    result.explanations = explanations;
    Ok(result)
}

fn id_ranges(store: &Store) -> Result<OwnedFd, ApiError> {
    crate::containers::make_and_open(store, "id-ranges")
}

/// The platforms to build for; one `None` for that of the host.
fn platforms(request: &BuildRequest) -> Result<Vec<Option<Platform>>, ApiError> {
    let parse = |text: &String| {
        text.parse::<Platform>().map(|platform| Some(platform.normalized())).map_err(|error| {
            ApiError::chain(ErrorKind::Invalid, &error)
                .context(&format!("invalid platform {text:?}"))
        })
    };
    let platforms = request.platforms.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(if platforms.is_empty() { vec![None] } else { platforms })
}

/// Gets the context, and reads the Dockerfile and the `.dockerignore`.
fn load(
    request: &BuildRequest,
    store: &Store,
    fetcher: &Fetcher<'_>,
    area: &WorkArea<'_>,
    tar: Option<&PipeReader>,
) -> Result<(Text, Inputs), Box<BuildFailure>> {
    let name = request.dockerfile.clone().unwrap_or_else(|| "Dockerfile".to_owned());
    let (root, identity, fetched) = root(request, fetcher, area, tar).map_err(plain)?;
    let text = match (&request.dockerfile_text, fetched) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(text)) => text,
        (None, None) => dockerfile(&root, &name, request.dockerfile.is_some()).map_err(plain)?,
    };
    let dockerfile = hull_builder::parse(&text)
        .map_err(|error| source_failure(&error, &name, &hull_builder::Source::new(&text)))?;
    let ignore = ignore(request, &root, &name).map_err(plain)?;
    let known = store.stat_cache(&identity).map_err(|error| plain(error.into()))?;
    let context = Arc::new(Tree::of_context(root, ignore, known));
    Ok((Text { name, bytes: text, dockerfile }, Inputs { context, identity }))
}

/// The context's root, the name under which digests of its files are kept, and the Dockerfile
/// where that is all there is.
fn root(
    request: &BuildRequest,
    fetcher: &Fetcher<'_>,
    area: &WorkArea<'_>,
    tar: Option<&PipeReader>,
) -> Result<(OwnedFd, String, Option<Vec<u8>>), ApiError> {
    match (&request.context, tar) {
        (Context::None, _) => Ok((area.directory()?, "none".to_owned(), None)),
        (Context::Directory { path }, _) => {
            let root = context::directory(path)?;
            let name = context::cache_name(&root, path);
            Ok((root, name, None))
        }
        (Context::Stream, Some(tar)) => {
            let root = area.directory()?;
            context::unpack(fetcher.worker(), tar.as_fd(), &root)?;
            // Files that were just made have no digests from before.
            Ok((root, "stream".to_owned(), None))
        }
        (Context::Stream, None) => Err(ApiError::invalid("the build context did not arrive")),
        (Context::Remote { url }, _) => {
            let fetched = fetcher.context(url);
            match fetched.map_err(|error| error.context("cannot get the build context"))? {
                remote::Context::Files(root) => Ok((root, url.clone(), None)),
                remote::Context::Dockerfile(text) => {
                    Ok((area.directory()?, url.clone(), Some(text)))
                }
            }
        }
    }
}

fn dockerfile(root: &OwnedFd, name: &str, named: bool) -> Result<Vec<u8>, ApiError> {
    if let Some(text) = context::read(root, name, MAX_TEXT)? {
        return Ok(text);
    }
    if !named && let Some(text) = context::read(root, "dockerfile", MAX_TEXT)? {
        return Ok(text);
    }
    Err(ApiError::invalid(format!("cannot find {name} in the build context"))
        .hint("name another one with --file"))
}

fn ignore(request: &BuildRequest, root: &OwnedFd, name: &str) -> Result<Ignore, ApiError> {
    let text = match &request.ignore_text {
        Some(text) => Some(text.clone().into_bytes()),
        None => match context::read(root, &format!("{name}.dockerignore"), MAX_TEXT)? {
            Some(text) => Some(text),
            None => context::read(root, ".dockerignore", MAX_TEXT)?,
        },
    };
    Ignore::parse(&text.unwrap_or_default())
        .map_err(|error| ApiError::chain(ErrorKind::Invalid, &error))
}

type Planned = (Plan, BTreeMap<StageId, ResolvedImage>);

fn plan(
    contexts: &Contexts<'_>,
    file: &Text,
    inputs: &Inputs,
    platform: Option<&Platform>,
    multi_platform: bool,
) -> Result<Planned, Box<BuildFailure>> {
    let request = contexts.request;
    let lower = |names: &mut dyn Iterator<Item = &String>| {
        names.map(|name| name.to_lowercase()).collect::<BTreeSet<_>>()
    };
    let options = Options {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        target_platform: platform.cloned(),
        multi_platform,
        named_contexts: lower(&mut request.contexts.keys()),
        named_stages: Named::stages(request),
        no_cache: request.no_cache,
        no_cache_filter: lower(&mut request.no_cache_filter.iter()),
        ignore: inputs.context.ignore.clone(),
        ..Options::default()
    };
    let mut planner =
        Planner::new(&file.dockerfile, options).map_err(|error| file.failure(&error))?;
    let mut bases = BTreeMap::new();
    while let [wanted, ..] = planner.wanted().as_slice() {
        let (base, image) = bases::supply(contexts, wanted)
            .map_err(|error| at(file, wanted.lines, plain(error)))?;
        bases.extend(image.map(|image| (wanted.stage, image)));
        planner.supply(wanted.stage, base).map_err(|error| file.failure(&error))?;
    }
    let plan = planner.finish().map_err(|error| file.failure(&error))?;
    for stage in &plan.stages {
        let runs = stage.steps.iter().find(|step| matches!(step.action, Action::Run(_)));
        if let Some(step) = runs
            && let Err(error) = can_run(&stage.platform)
        {
            return Err(at(file, step.lines, plain(error)));
        }
    }
    Ok((plan, bases))
}

/// Whether this host runs programs for `platform`, by itself or by binfmt_misc.
fn can_run(platform: &Platform) -> Result<(), ApiError> {
    let host = Platform::host();
    if platform.os == host.os
        && (platform.architecture == host.architecture
            || (host.architecture == "amd64" && platform.architecture == "386"))
    {
        return Ok(());
    }
    let emulator = match platform.architecture.as_str() {
        "amd64" => "x86_64",
        "386" => "i386",
        "arm64" => "aarch64",
        other => other,
    };
    let entry = format!("/proc/sys/fs/binfmt_misc/qemu-{emulator}");
    match std::fs::read_to_string(entry) {
        // Without `F` the emulator is looked for inside the container.
        Ok(text) if text.starts_with("enabled") && flags(&text).contains('F') => Ok(()),
        _ => Err(ApiError::new(
            ErrorKind::Unavailable,
            format!("this host ({host}) runs no programs for {platform}"),
        )
        .hint(format!(
            "install an emulator for {emulator} in binfmt_misc, with the flag F, or build for {host}"
        ))),
    }
}

fn flags(entry: &str) -> &str {
    entry.lines().find_map(|line| line.strip_prefix("flags: ")).unwrap_or_default()
}

/// The same failure, at a place of the Dockerfile.
fn at(file: &Text, lines: Lines, mut failure: Box<BuildFailure>) -> Box<BuildFailure> {
    failure.lines = Some((number(lines.start), number(lines.end)));
    failure.excerpt = file.dockerfile.source.excerpt(&file.name, lines, None);
    failure
}

impl<'a> Build<'a> {
    /// Runs the stages; returns the image of the target and all results. `None` if a cache was
    /// rejected on the way.
    fn execute(&self) -> Result<Option<(Image, Vec<Made>)>, Box<BuildFailure>> {
        std::thread::scope(|scope| {
            for stage in &self.plan.stages {
                let run = move || {
                    let done = stage::run(self, stage, scope);
                    let slot = &self.slots[&stage.id];
                    let result = match done {
                        Ok(done) => Some(done),
                        Err(failure) => {
                            self.fail(failure);
                            None
                        }
                    };
                    *slot.done.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    slot.changed.notify_all();
                };
                match self.plan.stages.as_slice() {
                    [_] => run(),
                    _ => drop(scope.spawn(run)),
                }
            }
        });
        if let Some(failure) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure);
        }
        if self.imports.take_news() {
            return Ok(None);
        }
        let target = self.plan.target();
        let done = self.done(target.id).map_err(plain)?;
        let made = match self.results(&done) {
            Err(_) if self.imports.take_news() => return Ok(None),
            made => made.map_err(plain)?,
        };
        let is_inline = self.caches.iter().any(|cache| cache.place == external::Place::Inline);
        let cache = is_inline.then(|| external::inline(&made)).transpose().map_err(plain)?;
        let base = self.root_base(target.id);
        let image = export::Image::new(self.plan, &done, base, self.origin(), cache);
        Ok(Some((image.map_err(plain)?, made)))
    }

    /// Remembers a result, if a cache is to have it.
    pub(super) fn made(&self, pending: Pending) {
        if !self.caches.is_empty() {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push(pending);
        }
    }

    /// All results in the order of the plan; what of them is needed is here then.
    fn results(&self, target: &Done) -> Result<Vec<Made>, ApiError> {
        self.imports.bring(&target.chain)?;
        let mut of_result = vec![self.plan.target().id];
        while let Some(Base::Stage(below)) =
            of_result.last().and_then(|id| self.plan.stage(*id)).map(|stage| &stage.base)
        {
            of_result.push(*below);
        }
        let mut pending =
            std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let position = |id| self.plan.stages.iter().position(|stage| stage.id == id);
        pending.sort_by_key(|pending| (position(pending.place.0), pending.place.1));
        let all = self.caches.iter().any(|cache| cache.all);
        let mut made = Vec::new();
        for pending in pending {
            let is_of_result = of_result.contains(&pending.place.0);
            let mut elsewhere = None;
            if let Link::Offered(offer) = &pending.link
                && offer.ids().is_none()
                && all
            {
                match external::hands_on(self.caches, offer) {
                    true => elsewhere = Some(Arc::clone(offer)),
                    false => {
                        let mut alone = Chain::default();
                        alone.push(pending.link.clone(), 0);
                        self.imports.bring(&alone)?;
                    }
                }
            }
            let alias = match &pending.by_stage {
                Some(by_stage) => Some(by_stage.key(&self.done(by_stage.stage)?.chain)?),
                None => None,
            };
            made.push(Made {
                key: pending.key,
                alias,
                on: chain_id(&pending.below.layers()?),
                depth: pending.below.len(),
                diff_id: pending.link.layer()?,
                elsewhere,
                created: pending.created,
                description: pending.description,
                is_of_result,
            });
        }
        Ok(made)
    }

    /// Keeps what was learnt of files of named contexts.
    fn keep_digests(&self) -> Result<(), ApiError> {
        let trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let contexts = trees.iter().filter(|(source, _)| matches!(source, Source::Named(_)));
        contexts.filter(|(_, tree)| !tree.owners).try_for_each(|(_, tree)| tree.keep(self.store))
    }

    /// How it was built, for statements about it.
    fn origin(&self) -> Origin {
        let platform = self.plan.target().platform.to_string();
        for base in self.bases.values() {
            self.fetcher.note_image(base, &platform);
        }
        let reproducible = self.plan.source_date_epoch.is_some();
        Origin {
            file_name: self.file.name.clone(),
            dockerfile: self.file.bytes.clone(),
            steps: attest::steps(self.plan),
            materials: self.fetcher.materials(),
            times: (!reproducible).then(|| (self.began.clone(), now())),
        }
    }

    /// The image at the bottom of a stage's chain.
    fn root_base(&self, mut id: StageId) -> Option<ResolvedImage> {
        loop {
            match &self.plan.stage(id)?.base {
                Base::Stage(below) => id = *below,
                _ => return self.bases.get(&id).cloned(),
            }
        }
    }

    /// Ends the build. The first failure is the one that is told.
    pub(super) fn fail(&self, failure: Box<BuildFailure>) {
        if self.imports.has_news() {
            // It all begins again.
            return;
        }
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        // Others end because of this one.
        if first.is_none() {
            *first = Some(failure);
        }
        drop(first);
        self.progress.cancel();
    }

    /// A failure of a step.
    pub(super) fn failure(
        &self,
        error: ApiError,
        activity: &Activity<'_>,
        lines: Lines,
    ) -> Box<BuildFailure> {
        let mut failure = at(self.file, lines, plain(error));
        failure.step = activity.name().to_owned();
        failure.output = activity.last_lines();
        failure
    }

    /// The result of a stage, once it is there.
    pub(super) fn done(&self, id: StageId) -> Result<Done, ApiError> {
        let slot = self.slots.get(&id).ok_or_else(|| {
            ApiError::new(ErrorKind::Internal, format!("stage {} is not part of the plan", id.0))
        })?;
        let mut done = slot.done.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*done {
                Some(Some(done)) => return Ok(done.clone()),
                Some(None) => return Err(cancelled()),
                None => done = slot.changed.wait(done).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    pub(super) fn base(&self, id: StageId) -> Option<&ResolvedImage> {
        self.bases.get(&id)
    }

    pub(super) fn explain(&self, step: &str, reason: String) {
        let explanation = Explanation { step: step.to_owned(), reason };
        self.explanations.lock().unwrap_or_else(PoisonError::into_inner).push(explanation);
    }

    /// Seconds since 1970 for what a build makes up.
    pub(super) fn time(&self) -> i64 {
        self.plan.source_date_epoch.unwrap_or_else(|| jiff::Timestamp::now().as_second())
    }

    /// The tree that files come from.
    pub(super) fn tree(&self, source: &Source) -> Result<Arc<Tree>, ApiError> {
        if *source == Source::Context {
            return Ok(Arc::clone(&self.inputs.context));
        }
        let known = self.trees.lock().unwrap_or_else(PoisonError::into_inner).get(source).cloned();
        if let Some(tree) = known {
            return Ok(tree);
        }
        let tree = match source {
            Source::Context => return Ok(Arc::clone(&self.inputs.context)),
            Source::Stage(id) => {
                let chain = self.done(*id)?.chain;
                self.imports.bring(&chain)?;
                Tree::of_image(chain.view(self.store)?)
            }
            Source::Image(name) => self.image_tree(name)?,
            Source::Named(name) => match self.contexts.files(name)? {
                Some(tree) => return Ok(self.remember(source, tree)),
                None => {
                    let platform = &self.plan.target().platform;
                    match self.contexts.image(name, platform, false)? {
                        Some(image) => self.tree_of(&image)?,
                        None => Tree::of_image(Chain::default().view(self.store)?),
                    }
                }
            },
            Source::Scratch => Tree::of_image(Chain::default().view(self.store)?),
        };
        Ok(self.remember(source, Arc::new(tree)))
    }

    /// Keeps a tree for all who need it; the first one counts.
    fn remember(&self, source: &Source, tree: Arc<Tree>) -> Arc<Tree> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(trees.entry(source.clone()).or_insert(tree))
    }

    fn image_tree(&self, name: &str) -> Result<Tree, ApiError> {
        let image = self.contexts.image_called(name, &self.plan.target().platform, false)?;
        self.tree_of(&image)
    }

    fn tree_of(&self, image: &ResolvedImage) -> Result<Tree, ApiError> {
        self.fetcher.note_image(image, &self.plan.target().platform.to_string());
        for layer in &image.layers {
            self.lease.add(layer)?;
        }
        Ok(Tree::of_image(Chain::of(self.store, &image.layers)?.view(self.store)?))
    }

    /// Makes a layer of what a list says.
    pub(super) fn layer_of(
        &self,
        items: &[Item],
        tree: BorrowedFd<'_>,
        view: &OwnedFd,
    ) -> Result<(Link, u32), ApiError> {
        let list = self.list(items)?;
        let ingest = self.prepare()?;
        let job = Job::ListLayer {
            latest: self.plan.source_date_epoch,
            mode: ingest.mode(),
            limits: LIMITS,
        };
        let report = self.make(ingest, &job, &[tree, view.as_fd(), list.as_fd()])?;
        Ok((Link::Stored(report.diff_id), report.max_id.saturating_add(1)))
    }

    /// Makes a layer of what was written over `below`.
    pub(super) fn layer_of_changes(
        &self,
        scratch: &Scratch,
        below: &Chain,
        stubs: Vec<String>,
    ) -> Result<LayerReport, ApiError> {
        let view = below.view(self.store)?;
        let changes = scratch.changes().map_err(|error| ApiError::internal(&error))?;
        let ingest = self.prepare()?;
        let job = Job::StepLayer {
            stubs,
            latest: self.plan.source_date_epoch,
            mode: ingest.mode(),
            limits: LIMITS,
        };
        self.make(ingest, &job, &[changes.as_fd(), view.as_fd()])
    }

    fn prepare(&self) -> Result<LayerIngest<'_>, ApiError> {
        self.store
            .layers()
            .prepare()
            .map_err(|error| ApiError::chain(ErrorKind::Unavailable, &error))
    }

    fn make(
        &self,
        ingest: LayerIngest<'_>,
        job: &Job,
        inputs: &[BorrowedFd<'_>],
    ) -> Result<LayerReport, ApiError> {
        let mut outputs = ingest.descriptors()?;
        let spool = match ingest.mode() {
            LayerMode::Erofs => None,
            // A tree does not give its tar back.
            LayerMode::Unpack => Some(self.store.blobs().temporary()?),
        };
        if let Some(spool) = &spool {
            outputs.push(spool.try_clone().map_err(|error| ApiError::internal(&error))?.into());
        }
        let descriptors: Vec<_> =
            inputs.iter().copied().chain(outputs.iter().map(AsFd::as_fd)).collect();
        let report = match run_job(self.worker, job, &descriptors) {
            Ok(Answer::Layer(report)) => report,
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => return Err(failed(&error).context("cannot make a layer")),
        };
        self.lease.add(&report.diff_id)?;
        self.lease.add(&report.digest)?;
        let internal = |error: &dyn std::error::Error| ApiError::internal(error);
        if let Some(spool) = spool {
            let blobs = self.store.blobs();
            blobs.commit_file(&spool, &report.digest).map_err(|error| internal(&error))?;
        }
        let published = self.store.layers().publish_fresh(ingest, &report);
        published.map_err(|error| internal(&error))?;
        Ok(report)
    }

    /// Puts what a list says into an empty directory.
    pub(super) fn unpack_list(
        &self,
        items: &[Item],
        tree: BorrowedFd<'_>,
        directory: &OwnedFd,
    ) -> Result<(), ApiError> {
        let list = self.list(items)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let nothing = rustix::fs::openat(CWD, "/dev/null", flags, Mode::empty())
            .map_err(|error| ApiError::internal(&std::io::Error::from(error)))?;
        let job = Job::ListLayer { latest: None, mode: LayerMode::Unpack, limits: LIMITS };
        let descriptors = [tree, tree, list.as_fd(), directory.as_fd(), nothing.as_fd()];
        run_job(self.worker, &job, &descriptors)
            .map(drop)
            .map_err(|error| failed(&error).context("cannot copy files of a build"))
    }

    /// A list as a file.
    pub(super) fn list(&self, items: &[Item]) -> Result<File, ApiError> {
        let internal = |error: std::io::Error| ApiError::internal(&error);
        let mut file = self.store.blobs().temporary()?;
        write_items(items, std::io::BufWriter::new(&mut file)).map_err(internal)?;
        file.rewind().map_err(internal)?;
        Ok(file)
    }
}
