//! The `prune` commands and the question before them.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};
use hull_api::image::ImagesPruned;
use hull_api::{ContainersPruneResponse, StoreCollectResponse, VolumesPruneResponse};

use crate::app::Context;
use crate::client::{ApiError, Client, query};
use crate::format::{filters, units};
use crate::{options, out};

fn base(about: &'static str) -> Command {
    Command::new("prune").about(about).args([
        filters::long(),
        options::switch("force", Some('f'), "Do not prompt for confirmation"),
    ])
}

/// Asks unless `--force` is given; false for anything but yes.
fn confirmed(matches: &ArgMatches, warning: &str) -> bool {
    if options::is_set(matches, "force") {
        return true;
    }
    let mut stdout = std::io::stdout().lock();
    // A question nobody reads has no answer either.
    let _ = write!(stdout, "{warning}\nAre you sure you want to continue? [y/N] ");
    let _ = stdout.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn total(bytes: u64) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    out::line(&format!("Total reclaimed space: {}", units::human_size(bytes)));
}

fn named(title: &str, names: &[String]) {
    if !names.is_empty() {
        out::line(&format!("{title}:\n{}\n", names.join("\n")));
    }
}

async fn containers(client: &Client, filters: Option<&str>) -> Result<u64> {
    let query = query(&[("filters", filters)]);
    let pruned: ContainersPruneResponse =
        client.post_empty(&format!("/containers/prune{query}")).await?;
    named("Deleted Containers", &pruned.containers_deleted);
    Ok(pruned.space_reclaimed)
}

async fn volumes(client: &Client, filters: Option<&str>) -> Result<u64> {
    let query = query(&[("filters", filters)]);
    let pruned: VolumesPruneResponse = client.post_empty(&format!("/volumes/prune{query}")).await?;
    named("Deleted Volumes", &pruned.volumes_deleted);
    Ok(pruned.space_reclaimed)
}

async fn images(client: &Client, filters: Option<&str>, all: bool) -> Result<u64> {
    let filters = with_filter(filters, "dangling", if all { "false" } else { "true" })?;
    let query = query(&[("filters", Some(&filters))]);
    let pruned: ImagesPruned = client.post_empty(&format!("/images/prune{query}")).await?;
    if !pruned.images_deleted.is_empty() {
        out::line("Deleted Images:");
        for item in &pruned.images_deleted {
            if let Some(name) = &item.untagged {
                out::line(&format!("untagged: {name}"));
            }
            if let Some(digest) = &item.deleted {
                out::line(&format!("deleted: {digest}"));
            }
        }
        out::line("");
    }
    Ok(pruned.space_reclaimed)
}

fn with_filter(filters: Option<&str>, name: &str, value: &str) -> Result<String> {
    let mut map: std::collections::BTreeMap<String, serde_json::Value> = match filters {
        Some(text) => serde_json::from_str(text)?,
        None => std::collections::BTreeMap::new(),
    };
    map.entry(name.to_owned()).or_insert_with(|| serde_json::json!({ value: true }));
    Ok(serde_json::to_string(&map)?)
}

/// Frees what nothing refers to any more. Only Hull has this: another engine does it by itself.
async fn collect(client: &Client) -> Result<u64> {
    match client.post_empty::<StoreCollectResponse>("/hull/collect").await {
        Ok(collected) => Ok(collected.space_reclaimed),
        Err(error)
            if error.downcast_ref::<ApiError>().is_some_and(|refusal| refusal.status == 404) =>
        {
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// `hull container prune`
pub(crate) mod container {
    use super::{ArgMatches, Command, Context, ExitCode, Result, filters};

    pub(crate) fn command() -> Command {
        super::base("Remove all stopped containers")
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let filters = filters::query(&matches)?;
        if super::confirmed(&matches, "WARNING! This will remove all stopped containers.") {
            super::total(super::containers(context.client(), filters.as_deref()).await?);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull image prune`
pub(crate) mod image {
    use super::{ArgMatches, Command, Context, ExitCode, Result, filters, options};

    pub(crate) fn command() -> Command {
        super::base("Remove unused images").arg(options::switch(
            "all",
            Some('a'),
            "Remove all unused images, not just dangling ones",
        ))
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let all = options::is_set(&matches, "all");
        let filters = filters::query(&matches)?;
        let warning = if all {
            "WARNING! This will remove all images without at least one container associated to them."
        } else {
            "WARNING! This will remove all dangling images."
        };
        if super::confirmed(&matches, warning) {
            super::total(super::images(context.client(), filters.as_deref(), all).await?);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull builder prune`
pub(crate) mod builder {
    use hull_api::BuildPruned;

    use super::{ArgMatches, Command, Context, ExitCode, Result, filters, options, query};

    pub(crate) fn command() -> Command {
        super::base("Remove build cache").args([
            options::switch("all", Some('a'), "Remove all of it, not just what nothing uses"),
            options::value("keep-storage", None, "BYTES", "Amount of cache to keep")
                .alias("max-used-space"),
        ])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let all = options::is_set(&matches, "all");
        let filters = filters::query(&matches)?;
        let keep = match options::text(&matches, "keep-storage") {
            Some(text) => Some(options::bytes("keep-storage", text)?.to_string()),
            None => None,
        };
        let warning = if all {
            "WARNING! This will remove all build cache."
        } else {
            "WARNING! This will remove all dangling build cache."
        };
        if !super::confirmed(&matches, warning) {
            return Ok(ExitCode::SUCCESS);
        }
        let query = query(&[
            ("all", all.then_some("1")),
            ("filters", filters.as_deref()),
            ("keep-storage", keep.as_deref()),
        ]);
        let path = format!("/build/prune{query}");
        let pruned: BuildPruned = context.client().post_empty(&path).await?;
        super::named("Deleted build cache objects", &pruned.caches_deleted);
        super::total(pruned.space_reclaimed);
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull volume prune`
pub(crate) mod volume {
    use super::{ArgMatches, Command, Context, ExitCode, Result, filters, options};

    pub(crate) fn command() -> Command {
        super::base("Remove unused local volumes").arg(options::switch(
            "all",
            Some('a'),
            "Remove all unused volumes, not just anonymous ones",
        ))
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let all = options::is_set(&matches, "all");
        let mut filters = filters::query(&matches)?;
        if all {
            filters = Some(super::with_filter(filters.as_deref(), "all", "true")?);
        }
        let which = if all { "all" } else { "anonymous" };
        let warning = format!(
            "WARNING! This will remove {which} local volumes not used by at least one container."
        );
        if super::confirmed(&matches, &warning) {
            super::total(super::volumes(context.client(), filters.as_deref()).await?);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull system prune`
pub(crate) mod system {
    use super::{ArgMatches, Command, Context, ExitCode, Result, filters, options};

    pub(crate) fn command() -> Command {
        super::base("Remove unused data").args([
            options::switch("all", Some('a'), "Remove all unused images not just dangling ones"),
            options::switch("volumes", None, "Prune anonymous volumes"),
        ])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let all = options::is_set(&matches, "all");
        let volumes = options::is_set(&matches, "volumes");
        let filters = filters::query(&matches)?;
        let filters = filters.as_deref();
        let mut warning = "WARNING! This will remove:\n  - all stopped containers\n".to_owned();
        if volumes {
            warning.push_str("  - all anonymous volumes not used by at least one container\n");
        }
        warning.push_str(if all {
            "  - all images without at least one container associated to them\n"
        } else {
            "  - all dangling images\n"
        });
        if !super::confirmed(&matches, &warning) {
            return Ok(ExitCode::SUCCESS);
        }
        let client = context.client();
        let mut bytes = super::containers(client, filters).await?;
        if volumes {
            bytes += super::volumes(client, filters).await?;
        }
        bytes += super::images(client, filters, all).await?;
        bytes += super::collect(client).await?;
        super::total(bytes);
        Ok(ExitCode::SUCCESS)
    }
}
