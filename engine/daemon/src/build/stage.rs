//! One stage: its steps one after another.

use std::sync::Arc;
use std::thread::Scope;

use hull_api::build::BuildFailure;
use hull_builder::plan::{Action, Base, StageId, StagePlan, Step};
use hull_oci::Digest;
use hull_shim::client::Steps;
use hull_store::cache::StepRecord;

use super::chain::{Chain, Link, Written};
use super::copy::{self, Copy};
use super::external::Offer;
use super::job::Build;
use super::key::Inputs;
use super::progress::{Activity, now};
use super::run::{Run, RunError, describe};
use crate::error::ApiError;

/// A stage that is done, though some of its layers may still be made.
#[derive(Debug, Clone)]
pub(super) struct Done {
    pub(super) chain: Chain,
    /// Of the last step.
    pub(super) key: Digest,
    /// Which results of others are below, if any are. What is made on them is not taken for what
    /// this engine has made of the same inputs.
    foreign: Option<Digest>,
    /// When each entry of the image's history was made, where that is known.
    pub(super) created: Vec<Option<String>>,
    /// Its last step, for displays.
    pub(super) vertex: Option<String>,
}

/// A step whose inputs are known.
enum Work<'s> {
    Run(Run<'s>),
    Copy(Copy<'s>),
    Workdir(&'s hull_builder::plan::WorkdirStep),
}

/// What a copy from a stage depends on: the layers of that count in place of the files.
#[derive(Debug)]
pub(super) struct ByStage {
    inputs: Inputs,
    pub(super) stage: StageId,
}

/// A result whose layer may still be made.
#[derive(Debug)]
pub(super) struct Pending {
    /// The stage, and which of its steps it is.
    pub(super) place: (StageId, usize),
    pub(super) key: Digest,
    pub(super) by_stage: Option<ByStage>,
    pub(super) below: Chain,
    pub(super) link: Link,
    pub(super) created: String,
    pub(super) description: String,
}

impl ByStage {
    /// The key, once the stage's layers are known.
    pub(super) fn key(&self, stage: &Chain) -> Result<Digest, ApiError> {
        let layers = stage.layers()?;
        let layers: Vec<_> = layers.iter().map(Digest::as_str).collect();
        let mut inputs = self.inputs.clone();
        inputs.add("the layers of the stage", layers.join(" "));
        Ok(inputs.key())
    }
}

struct Stage<'s, 'e: 's, 'a> {
    build: &'e Build<'a>,
    plan: &'e StagePlan,
    scope: &'s Scope<'s, 'e>,
    done: Done,
    shim: Option<Steps>,
}

/// Runs a stage.
pub(super) fn run<'s, 'e, 'a>(
    build: &'e Build<'a>,
    plan: &'e StagePlan,
    scope: &'s Scope<'s, 'e>,
) -> Result<Done, Box<BuildFailure>> {
    let done = begin(build, plan).map_err(super::job::plain)?;
    let mut stage = Stage { build, plan, scope, done, shim: None };
    for (index, step) in plan.steps.iter().enumerate() {
        if step.action != Action::Config {
            stage.step(index, step)?;
        }
    }
    Ok(stage.done)
}

/// What the stage begins with.
fn begin(build: &Build<'_>, plan: &StagePlan) -> Result<Done, ApiError> {
    build.progress.check()?;
    let entries = plan.image.history.len();
    let mut done = match &plan.base {
        Base::Stage(id) => build.done(*id)?,
        _ => {
            let mut inputs = Inputs::default();
            let (chain, vertex) = match build.base(plan.id) {
                Some(image) => {
                    for layer in &image.layers {
                        build.lease.add(layer)?;
                    }
                    let chain = Chain::of(build.store, &image.layers)?;
                    let layers: Vec<_> = image.layers.iter().map(Digest::as_str).collect();
                    inputs.add("the base image", layers.join(" "));
                    let name = plan.base_display.as_deref().unwrap_or("FROM");
                    let activity = build.progress.begin(name, Vec::new());
                    let vertex = activity.digest();
                    activity.cached();
                    (chain, Some(vertex))
                }
                None => {
                    inputs.add("the base image", "scratch");
                    (Chain::default(), None)
                }
            };
            Done { chain, key: inputs.key(), foreign: None, created: Vec::new(), vertex }
        }
    };
    done.created.resize(entries, None);
    Ok(done)
}

impl<'s, 'e, 'a> Stage<'s, 'e, 'a> {
    fn step(&mut self, index: usize, step: &'e Step) -> Result<(), Box<BuildFailure>> {
        let build = self.build;
        let vertices = self.done.vertex.iter().cloned().collect();
        let activity = build.progress.begin(&step.display, vertices);
        self.done.vertex = Some(activity.digest());
        self.attempt(index, step, activity)
    }

    fn attempt(
        &mut self,
        index: usize,
        step: &'e Step,
        activity: Activity<'e>,
    ) -> Result<(), Box<BuildFailure>> {
        macro_rules! attempt {
            ($result:expr) => {
                match $result {
                    Ok(value) => value,
                    Err(error) => {
                        let failure = self.build.failure(error, &activity, step.lines);
                        activity.failed(&failure.message);
                        return Err(failure);
                    }
                }
            };
        }
        attempt!(self.build.progress.check());
        let by_stage = self.by_stage(step);
        if let Some(offer) = attempt!(self.offered_by_stage(by_stage.as_ref())) {
            self.take_offer(index, step, offer, by_stage);
            activity.cached();
            return Ok(());
        }
        let mut inputs = Inputs::default();
        let work = attempt!(self.prepare(step, &mut inputs));
        inputs.add("the step before", self.done.key.as_str());
        let key = inputs.key();
        let own_key = self.own_key(&key);
        if let Some(record) = attempt!(self.known(&own_key)) {
            attempt!(self.take(index, step, key, &record, by_stage));
            activity.cached();
            return Ok(());
        }
        if let Some(offer) = attempt!(self.offered(&key)) {
            self.take_offer(index, step, offer, by_stage);
            activity.cached();
            return Ok(());
        }
        let lock = attempt!(self.build.store.lock_step(&own_key).map_err(ApiError::from));
        // Somebody may have made it meanwhile.
        if let Some(record) = attempt!(self.known(&own_key)) {
            attempt!(self.take(index, step, key, &record, by_stage));
            activity.cached();
            return Ok(());
        }
        attempt!(self.note(index, step, &inputs));
        attempt!(self.build.imports.bring(&self.done.chain));
        let record = StepRecord {
            key: own_key,
            layer: None,
            value: String::new(),
            description: step.display.clone(),
            created: String::new(),
            parents: vec![self.done.key.clone()],
        };
        let below = self.done.chain.clone();
        match work {
            Work::Run(run) => {
                let scratch = match run.run(self.build, &mut self.shim, &below, &activity) {
                    Ok(scratch) => scratch,
                    Err(RunError::Other(error)) => attempt!(Err(error)),
                    Err(RunError::Exit(exit)) => {
                        let args = match &step.action {
                            Action::Run(run) => run.args.as_slice(),
                            _ => &[],
                        };
                        let error = ApiError::invalid(describe(args, &exit));
                        let mut failure = self.build.failure(error, &activity, step.lines);
                        failure.exit_code = Some(exit.code);
                        activity.failed(&failure.message);
                        return Err(failure);
                    }
                };
                let written = Written::new(scratch);
                let record = StepRecord { created: self.created(), ..record };
                let link = Link::Written(Arc::clone(&written));
                self.push(index, step, key, link, below.ids(), &record.created, by_stage);
                let stubs = run.stubs(self.build);
                let (build, lines) = (self.build, step.lines);
                self.scope.spawn(move || {
                    let permit = build.packers.take();
                    let sealed = build.layer_of_changes(&written.scratch, &below, stubs);
                    drop(permit);
                    let kept = sealed.and_then(|report| {
                        keep(build, &below, record, &report.diff_id).map(|()| report.diff_id)
                    });
                    drop(lock);
                    match &kept {
                        Ok(_) => activity.done(),
                        Err(error) => {
                            build.fail(build.failure(error.clone(), &activity, lines));
                            activity.failed(&error.message);
                        }
                    }
                    written.seal(kept);
                });
                return Ok(());
            }
            Work::Copy(copy) => {
                let (link, ids) = attempt!(copy.run(self.build, &below));
                let record = StepRecord { created: self.created(), ..record };
                if let Link::Stored(layer) = &link {
                    attempt!(keep(self.build, &below, record.clone(), layer));
                }
                self.push(index, step, key, link, ids, &record.created, by_stage);
            }
            Work::Workdir(workdir) => {
                let (link, ids) = attempt!(copy::workdir(self.build, &below, workdir));
                let record = StepRecord { created: self.created(), ..record };
                if let Link::Stored(layer) = &link {
                    attempt!(keep(self.build, &below, record.clone(), layer));
                }
                self.push(index, step, key, link, ids, &record.created, by_stage);
            }
        }
        drop(lock);
        activity.done();
        Ok(())
    }

    fn prepare(&self, step: &'e Step, inputs: &mut Inputs) -> Result<Work<'e>, ApiError> {
        let build = self.build;
        let work = match &step.action {
            Action::Run(run) => Work::Run(Run::prepare(build, run, inputs)?),
            Action::Copy(copy) => Work::Copy(Copy::prepare(build, copy, inputs)?),
            Action::Workdir(workdir) => {
                inputs.add("the instruction", "WORKDIR");
                inputs.add("the directory", &workdir.path);
                inputs.add("the user", &workdir.user);
                Work::Workdir(workdir)
            }
            Action::Config => {
                return Err(ApiError::new(hull_api::ErrorKind::Internal, "nothing is to be done"));
            }
        };
        self.describe(inputs);
        Ok(work)
    }

    /// Adds what every result depends on to `inputs`.
    fn describe(&self, inputs: &mut Inputs) {
        inputs.add("the platform", self.plan.platform.to_string());
        let epoch = self.build.plan.source_date_epoch;
        inputs.add("SOURCE_DATE_EPOCH", epoch.map(|epoch| epoch.to_string()).unwrap_or_default());
    }

    /// What a copy from a stage depends on beside the layers of that.
    fn by_stage(&self, step: &Step) -> Option<ByStage> {
        let Action::Copy(copy) = &step.action else { return None };
        let mut inputs = Inputs::default();
        let stage = Copy::prepare_by_stage(copy, &mut inputs)?;
        self.describe(&mut inputs);
        inputs.add("the step before", self.done.key.as_str());
        Some(ByStage { inputs, stage })
    }

    /// The key under which this engine keeps what it makes itself.
    fn own_key(&self, key: &Digest) -> Digest {
        match &self.done.foreign {
            None => key.clone(),
            Some(foreign) => Digest::sha256(format!("{key} on {foreign}").as_bytes()),
        }
    }

    /// What a cache has of the step with this key.
    fn offered(&self, key: &Digest) -> Result<Option<Arc<Offer>>, ApiError> {
        match self.plan.no_cache {
            true => Ok(None),
            false => self.build.imports.find(key, &self.done.chain),
        }
    }

    /// What a cache has of a copy from a stage whose layers are not here: then they need not come.
    fn offered_by_stage(&self, by_stage: Option<&ByStage>) -> Result<Option<Arc<Offer>>, ApiError> {
        let Some(by_stage) = by_stage else { return Ok(None) };
        let chain = self.build.done(by_stage.stage)?.chain;
        match chain.offers().any(|offer| offer.ids().is_none()) {
            true => self.offered(&by_stage.key(&chain)?),
            false => Ok(None),
        }
    }

    fn take_offer(
        &mut self,
        index: usize,
        step: &Step,
        offer: Arc<Offer>,
        by_stage: Option<ByStage>,
    ) {
        let before = self.done.foreign.as_ref().map(Digest::as_str).unwrap_or_default();
        let foreign = Digest::sha256(format!("{before} {}", offer.diff_id).as_bytes());
        self.done.foreign = Some(foreign);
        let (key, created) = (offer.key.clone(), offer.created.clone());
        self.push(index, step, key, Link::Offered(offer), 0, &created, by_stage);
    }

    /// The result of an earlier build, if it was made on the very same layers.
    fn known(&self, key: &Digest) -> Result<Option<StepRecord>, ApiError> {
        if self.plan.no_cache {
            return Ok(None);
        }
        let Some(record) = self.build.store.step(key, self.build.lease)? else { return Ok(None) };
        Ok(Some(record).filter(|record| {
            top(&self.done.chain).is_ok_and(|below| below == record.value) && record.layer.is_some()
        }))
    }

    fn take(
        &mut self,
        index: usize,
        step: &Step,
        key: Digest,
        record: &StepRecord,
        by_stage: Option<ByStage>,
    ) -> Result<(), ApiError> {
        let Some(layer) = &record.layer else { return Ok(()) };
        let info = self.build.store.layers().info(layer)?;
        let ids = info.max_id.saturating_add(1);
        let link = Link::Stored(layer.clone());
        self.push(index, step, key, link, ids, &record.created, by_stage);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of a result, said once")]
    fn push(
        &mut self,
        index: usize,
        step: &Step,
        key: Digest,
        link: Link,
        ids: u32,
        created: &str,
        by_stage: Option<ByStage>,
    ) {
        self.build.made(Pending {
            place: (self.plan.id, index),
            key: key.clone(),
            by_stage,
            below: self.done.chain.clone(),
            link: link.clone(),
            created: created.to_owned(),
            description: step.display.clone(),
        });
        self.done.chain.push(link, ids);
        self.done.key = key;
        if let Some(entry) = step.history.and_then(|index| self.done.created.get_mut(index)) {
            *entry = Some(created.to_owned());
        }
    }

    /// When a layer that is made now was made.
    fn created(&self) -> String {
        let epoch = self.build.plan.source_date_epoch;
        epoch
            .and_then(|epoch| jiff::Timestamp::from_second(epoch).ok())
            .map_or_else(now, |time| time.to_string())
    }

    /// Remembers the inputs of a step that runs, and tells why it does.
    fn note(&self, index: usize, step: &Step, inputs: &Inputs) -> Result<(), ApiError> {
        let build = self.build;
        let name = format!("{}\0{}\0{index}", build.identity, self.plan.id.0);
        let name = Digest::sha256(name.as_bytes());
        if build.request.explain {
            let reason = match self.plan.no_cache {
                true => "the cache is not to be used".to_owned(),
                false => inputs.explain(build.store.note(&name)?.as_ref()),
            };
            build.explain(&step.display, reason);
        }
        Ok(build.store.put_note(&name, &inputs.note())?)
    }
}

/// The layer on top as records name it.
fn top(chain: &Chain) -> Result<String, ApiError> {
    Ok(chain.top()?.map(|digest| digest.to_string()).unwrap_or_default())
}

/// Remembers a result.
fn keep(
    build: &Build<'_>,
    below: &Chain,
    record: StepRecord,
    layer: &Digest,
) -> Result<(), ApiError> {
    let record = StepRecord { layer: Some(layer.clone()), value: top(below)?, ..record };
    Ok(build.store.put_step(&record)?)
}
