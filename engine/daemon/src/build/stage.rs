//! One stage: its steps one after another.

use std::sync::Arc;
use std::thread::Scope;

use hull_api::build::BuildFailure;
use hull_builder::plan::{Action, Base, StagePlan, Step};
use hull_oci::Digest;
use hull_shim::client::Steps;
use hull_store::cache::StepRecord;

use super::chain::{Chain, Link, Written};
use super::copy::{self, Copy};
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
            Done { chain, key: inputs.key(), created: Vec::new(), vertex }
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
        let mut inputs = Inputs::default();
        let work = attempt!(self.prepare(step, &mut inputs));
        inputs.add("the step before", self.done.key.as_str());
        let key = inputs.key();
        if let Some(record) = attempt!(self.known(&key)) {
            attempt!(self.take(step, key, &record));
            activity.cached();
            return Ok(());
        }
        let lock = attempt!(self.build.store.lock_step(&key).map_err(ApiError::from));
        // Somebody may have made it meanwhile.
        if let Some(record) = attempt!(self.known(&key)) {
            attempt!(self.take(step, key, &record));
            activity.cached();
            return Ok(());
        }
        attempt!(self.note(index, step, &inputs));
        let record = StepRecord {
            key: key.clone(),
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
                self.push(step, key, Link::Written(Arc::clone(&written)), below.ids, &record);
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
                attempt!(self.stored(step, key, link, ids, &record, &below));
            }
            Work::Workdir(workdir) => {
                let (link, ids) = attempt!(copy::workdir(self.build, &below, workdir));
                let record = StepRecord { created: self.created(), ..record };
                attempt!(self.stored(step, key, link, ids, &record, &below));
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
        inputs.add("the platform", self.plan.platform.to_string());
        let epoch = build.plan.source_date_epoch;
        inputs.add("SOURCE_DATE_EPOCH", epoch.map(|epoch| epoch.to_string()).unwrap_or_default());
        Ok(work)
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

    fn take(&mut self, step: &Step, key: Digest, record: &StepRecord) -> Result<(), ApiError> {
        let Some(layer) = &record.layer else { return Ok(()) };
        let info = self.build.store.layers().info(layer)?;
        let ids = info.max_id.saturating_add(1);
        self.push(step, key, Link::Stored(layer.clone()), ids, record);
        Ok(())
    }

    fn push(&mut self, step: &Step, key: Digest, link: Link, ids: u32, record: &StepRecord) {
        self.done.chain.push(link, ids);
        self.done.key = key;
        if let Some(entry) = step.history.and_then(|index| self.done.created.get_mut(index)) {
            *entry = Some(record.created.clone());
        }
    }

    fn stored(
        &mut self,
        step: &Step,
        key: Digest,
        link: Link,
        ids: u32,
        record: &StepRecord,
        below: &Chain,
    ) -> Result<(), ApiError> {
        if let Link::Stored(layer) = &link {
            keep(self.build, below, record.clone(), layer)?;
        }
        self.push(step, key, link, ids, record);
        Ok(())
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
