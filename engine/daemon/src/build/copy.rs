//! `COPY`, `ADD` and `WORKDIR`.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use hull_builder::ignore::Ignore;
use hull_builder::plan::{CopySource, CopyStep, Source, StageId, WorkdirStep};
use hull_store::layer::Item;
use hull_store::select::{Found, join};

use super::chain::{Chain, Link};
use super::context::{Tree, split_after};
use super::files::{Placing, owner};
use super::job::Build;
use super::key::Inputs;
use super::remote::{Commit, Fetched};
use super::unpack;
use crate::error::ApiError;

/// Something to copy, found and not copied yet.
pub(super) enum Piece {
    /// Files of a tree.
    Files {
        tree: Arc<Tree>,
        found: Vec<Found>,
        /// With `--parents`: how many parts come off the front of names.
        base: Option<usize>,
    },
    /// A file of the Dockerfile.
    Inline { name: String, data: String },
}

/// What a copy takes.
enum Taken {
    Piece(Piece),
    /// A file at an address whose content is known: it is fetched if the step is run.
    File {
        url: String,
        checksum: String,
    },
    /// A commit, which is known too.
    Commit(Commit),
}

/// A copy whose sources are known.
pub(super) struct Copy<'s> {
    step: &'s CopyStep,
    taken: Vec<Taken>,
}

/// A copy whose sources are here.
pub(super) struct Copying<'s> {
    step: &'s CopyStep,
    pieces: Vec<Piece>,
}

impl<'s> Copy<'s> {
    /// Finds the sources, and adds what the result depends on to `inputs`.
    pub(super) fn prepare(
        build: &Build<'_>,
        step: &'s CopyStep,
        inputs: &mut Inputs,
    ) -> Result<Self, ApiError> {
        Self::describe(step, inputs);
        let exclude = Ignore::parse(step.exclude.join("\n").as_bytes())
            .map_err(|error| ApiError::invalid(format!("--exclude: {error}")))?;
        let mut taken = Vec::new();
        for source in &step.sources {
            taken.push(match source {
                CopySource::Path(pattern) => {
                    let tree = build.tree(&step.from)?;
                    let (found, base) = match step.parents {
                        true => {
                            let (base, below) = pivot(pattern);
                            let (found, parts) = tree.take_deep(base, below, &exclude)?;
                            (found, Some(parts))
                        }
                        false => (tree.take(pattern, &exclude)?, None),
                    };
                    inputs.add(format!("what {pattern} holds"), tree.digest(&found)?.to_string());
                    if step.parents {
                        let names: Vec<_> =
                            found.iter().map(|one| String::from_utf8_lossy(&one.named)).collect();
                        inputs.add(format!("the names of {pattern}"), names.join("\n"));
                    }
                    Taken::Piece(Piece::Files { tree, found, base })
                }
                CopySource::Inline { name, data } => {
                    inputs.add("a file's name", name);
                    inputs.add_hidden(format!("the text of {name}"), data);
                    Taken::Piece(Piece::Inline { name: name.clone(), data: data.clone() })
                }
                CopySource::Url { url, checksum: Some(checksum) } => {
                    inputs.add(format!("the checksum of {url}"), checksum);
                    build.fetcher.note_promised(url, checksum);
                    let (url, checksum) = (url.clone(), checksum.clone());
                    Taken::File { url, checksum }
                }
                CopySource::Url { url, checksum: None } => {
                    let fetched = build.fetcher.file(url, None)?;
                    inputs.add(format!("the name of {url}"), &fetched.name);
                    inputs.add(format!("the content of {url}"), fetched.digest.as_str());
                    Taken::Piece(downloaded(fetched)?)
                }
                CopySource::Git { remote, checksum } => {
                    let commit =
                        build.fetcher.commit(remote, checksum.as_deref(), step.keep_git_dir)?;
                    inputs.add(format!("the commit of {remote}"), &commit.commit);
                    Taken::Commit(commit)
                }
            });
        }
        Ok(Self { step, taken })
    }

    /// Adds what is asked for, but for the sources, to `inputs`.
    fn describe(step: &CopyStep, inputs: &mut Inputs) {
        inputs.add("the instruction", if step.is_add { "ADD" } else { "COPY" });
        inputs.add("the destination", &step.destination);
        inputs.add("--chown", step.chown.clone().unwrap_or_default());
        inputs.add("--chmod", step.chmod.as_ref().map_or("", |modes| modes.as_str()));
        let flags = [step.link, step.parents, step.keep_git_dir];
        inputs.add("the flags", format!("{flags:?} {:?} {:?}", step.unpack, step.exclude));
    }

    /// The stage that all sources are in, if they are all in one. Adds what the result depends on
    /// beside its layers to `inputs`.
    pub(super) fn prepare_by_stage(step: &CopyStep, inputs: &mut Inputs) -> Option<StageId> {
        let Source::Stage(stage) = step.from else { return None };
        Self::describe(step, inputs);
        for source in &step.sources {
            let CopySource::Path(pattern) = source else { return None };
            inputs.add("what is copied", pattern);
        }
        Some(stage)
    }

    /// Copies, onto `chain`.
    pub(super) fn run(self, build: &Build<'_>, chain: &Chain) -> Result<(Link, u32), ApiError> {
        let fetch = |taken| match taken {
            Taken::Piece(piece) => Ok(piece),
            Taken::File { url, checksum } => downloaded(build.fetcher.file(&url, Some(&checksum))?),
            Taken::Commit(commit) => {
                let root = build.fetcher.check_out(&commit)?;
                let tree = Arc::new(Tree::of_commit(root));
                let found = tree.take("/", &Ignore::default())?;
                Ok(Piece::Files { tree, found, base: None })
            }
        };
        let pieces = self.taken.into_iter().map(fetch).collect::<Result<_, ApiError>>()?;
        Copying { step: self.step, pieces }.run(build, chain)
    }
}

impl Copying<'_> {
    fn run(&self, build: &Build<'_>, chain: &Chain) -> Result<(Link, u32), ApiError> {
        let view = chain.view(build.store)?;
        let owner = match &self.step.chown {
            Some(text) => Some(owner(&view, text)?),
            None => None,
        };
        if self.step.is_add && self.step.unpack != Some(false) {
            let archives = self.archives()?;
            if archives.iter().any(Option::is_some) {
                return unpack::unpack(build, chain, self, &archives, owner);
            }
        }
        let below = if self.step.link { None } else { Some(&view) };
        let tree = self.pieces.iter().find_map(|piece| match piece {
            Piece::Files { tree, .. } => Some(tree.root.as_fd()),
            Piece::Inline { .. } => None,
        });
        let items = self.items(build, below, owner, &[])?;
        build.layer_of(&items, tree.unwrap_or(view.as_fd()), &view)
    }

    /// The list of the layer, without the pieces whose index is in `without`.
    pub(super) fn items(
        &self,
        build: &Build<'_>,
        view: Option<&OwnedFd>,
        owner: Option<(u32, u32)>,
        without: &[usize],
    ) -> Result<Vec<Item>, ApiError> {
        let mut placing = Placing::new(view, owner, self.step.chmod.as_ref(), build.time());
        let destination = placing.destination(&self.step.destination)?;
        let several = self.files() > 1 && !self.step.parents;
        if several && !destination.is_directory {
            let name = if self.step.is_add { "ADD" } else { "COPY" };
            return Err(ApiError::invalid(format!(
                "when using {name} with more than one source file, the destination must be a \
                 directory and end with a /: {} files, {:?}",
                self.files(),
                self.step.destination
            )));
        }
        for (index, piece) in self.pieces.iter().enumerate() {
            if without.contains(&index) {
                continue;
            }
            match piece {
                Piece::Inline { name, data } => {
                    let to = match destination.is_directory {
                        true => join(&destination.path, name.as_bytes()),
                        false => destination.path.clone(),
                    };
                    placing.file(&to, data.as_bytes(), 0o644)?;
                }
                Piece::Files { tree, found, base: Some(base) } => {
                    for one in found {
                        let (base, kept) = split_after(&one.named, *base);
                        placing.directory(&destination.path)?;
                        let whole = join(kept, if one.is_directory() { b"x" } else { b"" });
                        placing.parents(
                            tree.root.as_fd(),
                            base,
                            &whole,
                            &destination.path,
                            tree.owners,
                        )?;
                        placing.found(one, &join(&destination.path, kept), tree.owners)?;
                    }
                }
                Piece::Files { tree, found, base: None } => {
                    for one in found {
                        let to = match destination.is_directory && !one.is_directory() {
                            true => join(&destination.path, &one.name),
                            false => destination.path.clone(),
                        };
                        placing.found(one, &to, tree.owners)?;
                    }
                }
            }
        }
        Ok(placing.into_items())
    }

    /// How many things are copied.
    fn files(&self) -> usize {
        let count = |piece: &Piece| match piece {
            Piece::Files { found, .. } => found.len(),
            Piece::Inline { .. } => 1,
        };
        self.pieces.iter().map(count).sum()
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub(super) fn destination(&self) -> &str {
        &self.step.destination
    }

    /// For each piece the one file that is an archive, open.
    fn archives(&self) -> Result<Vec<Option<OwnedFd>>, ApiError> {
        let archive = |piece: &Piece| match piece {
            // What comes from an address is unpacked only if that is asked for.
            Piece::Files { tree, .. } if tree.is_download && self.step.unpack.is_none() => Ok(None),
            Piece::Files { tree, found, .. } => match found.as_slice() {
                [one] if !one.is_directory() => unpack::archive(tree, one, self.step.unpack),
                _ => Ok(None),
            },
            Piece::Inline { .. } => Ok(None),
        };
        self.pieces.iter().map(archive).collect()
    }
}

/// Splits `a/./b` where `--parents` counts from.
fn pivot(pattern: &str) -> (&str, &str) {
    pattern.split_once("/./").unwrap_or(("", pattern))
}

fn downloaded(fetched: Fetched) -> Result<Piece, ApiError> {
    let tree = Arc::new(fetched.tree);
    // It is alone there, and its name may hold what patterns are made of.
    let found = tree.take("/*", &Ignore::default())?;
    Ok(Piece::Files { tree, found, base: None })
}

/// Makes a working directory, onto `chain`.
pub(super) fn workdir(
    build: &Build<'_>,
    chain: &Chain,
    step: &WorkdirStep,
) -> Result<(Link, u32), ApiError> {
    let view = chain.view(build.store)?;
    let owner = if step.user.is_empty() { (0, 0) } else { owner(&view, &step.user)? };
    let mut placing = Placing::new(Some(&view), Some(owner), None, build.time());
    let destination = placing.destination(&step.path)?;
    placing.directory(&destination.path)?;
    let mut items = placing.into_items();
    // One that is there is no change.
    if !items.iter().any(|item| matches!(item, Item::Made { .. })) {
        items.clear();
    }
    build.layer_of(&items, view.as_fd(), &view)
}
