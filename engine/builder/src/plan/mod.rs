//! From a Dockerfile to the steps of a build.
//!
//! Expansion of variables depends on the base image's config (its environment, working directory,
//! user, shell, triggers) and on nothing that runs. So the whole plan can be made before anything is
//! executed; only configs of base images are needed, not their layers:
//!
//! ```text
//! let mut planner = Planner::new(&dockerfile, options)?;     // global ARGs, stages, target, cycles
//! while let [wanted, ..] = planner.wanted().as_slice() {     // an image may bring ONBUILD triggers
//!     planner.supply(wanted.stage, resolve(wanted))?;        // that need further stages
//! }
//! let plan = planner.finish()?;                              // stages in order, steps expanded
//! ```
//!
//! Then the executor runs `plan.stages`, which are in an order in which every stage comes after those
//! it needs (`StagePlan::needs`, and `Base::Stage`); stages that do not need each other may run at the
//! same time. A stage is done when its steps are; its image is `StagePlan::image` with the diffIDs of
//! the steps that made layers appended and `created` filled in.

mod expand;
mod globals;
mod graph;
mod planner;
mod ports;
mod step;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use hull_oci::{ImageConfig, Platform};

use crate::Lines;
use crate::ignore::Ignore;
use crate::lint::Warning;

pub(crate) use globals::Globals;
pub use planner::Planner;
pub use step::{
    Action, CopySource, CopyStep, RunMount, RunStep, Script, Source, Step, WorkdirStep,
};

/// A stage by its place in the file, the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub usize);

/// What the person who builds says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `--target`, the last stage without it.
    pub target: Option<String>,
    /// `--build-arg`. Variables that steer the builder (`BUILDKIT_...`, `SOURCE_DATE_EPOCH`) too.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, applied last.
    pub labels: BTreeMap<String, String>,
    /// What `RUN` executes on without emulation.
    pub build_platform: Platform,
    /// `--platform`, one of them; `None` takes that of the base image.
    pub target_platform: Option<Platform>,
    /// Whether several platforms are built: names of steps then begin with theirs.
    pub multi_platform: bool,
    /// Names of `--build-context`, in lower case. They stand before stages and images of that name.
    pub named_contexts: BTreeSet<String>,
    /// Those of them that are another stage of the file (`target:STAGE`), and which.
    pub named_stages: BTreeMap<String, String>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--no-cache-filter`: names of stages, in lower case.
    pub no_cache_filter: BTreeSet<String>,
    /// Whether stages that the target does not need are planned too, for their warnings. The plan
    /// then holds all of them, the target not necessarily last.
    pub all_stages: bool,
    /// The `.dockerignore` of the context, for the rule about copies of what it excludes.
    pub ignore: Ignore,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            build_platform: Platform::host(),
            target_platform: None,
            multi_platform: false,
            named_contexts: BTreeSet::new(),
            named_stages: BTreeMap::new(),
            no_cache: false,
            no_cache_filter: BTreeSet::new(),
            all_stages: false,
            ignore: Ignore::default(),
        }
    }
}

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(StageId),
    /// An image, as the Dockerfile names it (expanded, not normalised).
    Image(String),
    /// A named context of the build: a directory, an image, a git repository ...
    Named(String),
}

/// A base image or named context whose config is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose base it is.
    pub stage: StageId,
    /// [`Base::Image`] or [`Base::Named`].
    pub base: Base,
    /// For what platform.
    pub platform: Platform,
    /// Whether that platform was asked for, by `FROM --platform` or for the build as a whole. If
    /// not, an image that exists only for another platform is taken as it is.
    pub explicit_platform: bool,
    /// The `FROM`.
    pub lines: Lines,
}

/// An answer to [`Wanted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The image config. For a directory or anything else without one: the default, with the
    /// platform filled in.
    pub config: ImageConfig,
    /// The reference with its digest, for display: `docker.io/library/debian:12@sha256:...`.
    pub resolved: String,
    /// Whether the config is really that of the base. If it is not known (a check without an
    /// engine), there are no warnings about variables that it may set.
    pub is_known: bool,
    /// Whether it is files without a config: the stage begins with a step that copies all of them.
    pub is_files: bool,
}

/// A build, ready to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The stages that the target needs, each after those that it needs; the target is the last.
    pub stages: Vec<StagePlan>,
    /// `--build-arg` that no `ARG` asked for, without those that are predefined.
    pub unused_build_args: Vec<String>,
    /// `SOURCE_DATE_EPOCH` in seconds, from `--build-arg` or a global `ARG`.
    pub source_date_epoch: Option<i64>,
    /// What looks wrong, in the order of the file.
    pub warnings: Vec<Warning>,
    target: StageId,
}

impl Plan {
    /// The stage that is built.
    pub fn target(&self) -> &StagePlan {
        self.stage(self.target).expect("a plan has the target's stage")
    }

    /// One of its stages.
    pub fn stage(&self, id: StageId) -> Option<&StagePlan> {
        self.stages.iter().find(|stage| stage.id == id)
    }
}

/// One stage with everything expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlan {
    /// Its place in the file.
    pub id: StageId,
    /// For display: its name, or `stage-1`; empty if it is the only one and has none.
    pub name: String,
    /// What it begins with.
    pub base: Base,
    /// `[build 1/5] FROM docker.io/library/rust:1@sha256:...`, for a base that is an image.
    pub base_display: Option<String>,
    /// The `FROM`.
    pub lines: Lines,
    /// What it is built for.
    pub platform: Platform,
    /// Its steps in order.
    pub steps: Vec<Step>,
    /// Stages whose files its steps use. Its base is not among them.
    pub needs: BTreeSet<StageId>,
    /// Whether results of earlier builds may not be used.
    pub no_cache: bool,
    /// The image it ends as: config and the whole history. `rootfs` is that of the base: the
    /// executor appends the diffIDs of its layers. `created` is that of `SOURCE_DATE_EPOCH` or
    /// absent, in new history entries too: the executor fills it in.
    pub image: ImageConfig,
    /// How many entries of the image's history come from its base (of all stages below it).
    pub inherited_history: usize,
    pub(crate) state: expand::State,
}

#[cfg(test)]
mod tests;
