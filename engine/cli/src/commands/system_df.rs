//! `hull system df`

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};
use hull_api::{DiskUsage, UsageClass};

use super::{images, ps, volume};
use crate::app::Context;
use crate::format::listing::{self, Columns, Row, Wish};
use crate::format::units;
use crate::template::Value;
use crate::{options, out};

static COLUMNS: Columns = Columns {
    type_name: "*formatter.diskUsageImagesContext",
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};

static CACHE: Columns = Columns {
    type_name: "*formatter.buildCacheContext",
    table: "",
    titles: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
};

static CLASSES: Columns = Columns {
    type_name: "class",
    table: "",
    titles: &[("Class", "CLASS"), ("Count", "OBJECTS"), ("Size", "SIZE")],
};

const RAW: &str = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n";

pub(crate) fn command() -> Command {
    Command::new("df").about("Show disk usage").args([
        listing::argument(),
        options::switch("verbose", Some('v'), "Show detailed information on space usage"),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let usage: DiskUsage = context.client().get("/system/df").await?;
    if options::is_set(&matches, "verbose") {
        out::text(&verbose(&usage)?);
        return Ok(ExitCode::SUCCESS);
    }
    let wish = Wish { format: options::text(&matches, "format"), quiet: false };
    out::text(&listing::render(wish, &COLUMNS, RAW, |_| rows(&usage))?);
    Ok(ExitCode::SUCCESS)
}

/// What one kind of object takes and could give back, in bytes.
struct Kind {
    name: &'static str,
    count: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
}

fn rows(usage: &DiskUsage) -> Vec<Value> {
    let images = {
        let used = usage.images.iter().filter(|image| image.containers > 0);
        let (mut active, mut used_bytes) = (0, 0);
        for image in used {
            active += 1;
            used_bytes += image.size - image.shared_size.max(0);
        }
        let reclaimable = usage.layers_size - used_bytes;
        Kind {
            name: "Images",
            count: usage.images.len(),
            active,
            size: usage.layers_size,
            reclaimable,
        }
    };
    let containers = {
        let written = |container: &hull_api::ContainerSummary| container.size_rw.unwrap_or(0);
        let is_active = |container: &&hull_api::ContainerSummary| {
            matches!(container.state.as_str(), "running" | "paused" | "restarting")
        };
        Kind {
            name: "Containers",
            count: usage.containers.len(),
            active: usage.containers.iter().filter(is_active).count(),
            size: usage.containers.iter().map(written).sum(),
            reclaimable: usage.containers.iter().filter(|c| !is_active(c)).map(written).sum(),
        }
    };
    let volumes = {
        let data = |volume: &hull_api::Volume| {
            volume.usage_data.as_ref().map_or((0, 0), |data| (data.size.max(0), data.ref_count))
        };
        let used = |volume: &&hull_api::Volume| data(volume).1 > 0;
        Kind {
            name: "Local Volumes",
            count: usage.volumes.len(),
            active: usage.volumes.iter().filter(used).count(),
            size: usage.volumes.iter().map(|v| data(v).0).sum(),
            reclaimable: usage.volumes.iter().filter(|v| !used(v)).map(|v| data(v).0).sum(),
        }
    };
    let cache = Kind {
        name: "Build Cache",
        count: usage.build_cache.len(),
        active: 0,
        size: 0,
        reclaimable: 0,
    };
    let mut rows: Vec<Value> = [images, containers, volumes, cache].iter().map(row).collect();
    // The same bytes once more by where they lie; together they are what `du` counts.
    rows.extend(usage.classes.iter().map(|class| {
        Row::new(&COLUMNS)
            .field("Active", "")
            .field("Reclaimable", "")
            .field("Size", units::human_size(i64::try_from(class.size).unwrap_or(i64::MAX)))
            .field("TotalCount", class.count.to_string())
            .field("Type", format!("On disk: {}", class.name))
            .build()
    }));
    rows
}

fn row(kind: &Kind) -> Value {
    let free = units::human_size(kind.reclaimable);
    let share = match kind.size {
        size if size > 0 => format!("{free} ({}%)", kind.reclaimable.saturating_mul(100) / size),
        _ => free,
    };
    Row::new(&COLUMNS)
        .field("Active", kind.active.to_string())
        .field("Reclaimable", share)
        .field("Size", units::human_size(kind.size))
        .field("TotalCount", kind.count.to_string())
        .field("Type", kind.name)
        .build()
}

fn verbose(usage: &DiskUsage) -> Result<String> {
    let table = |columns: &Columns, template: &str, rows: Vec<Value>| {
        let wish = Wish { format: Some(template), quiet: false };
        listing::render(wish, columns, "", |_| rows)
    };
    let images: Vec<Value> =
        usage.images.iter().filter_map(|image| images::first_row(image, true)).collect();
    let containers = usage.containers.iter().map(|container| {
        // The image's bytes are counted above.
        let container = hull_api::ContainerSummary { size_root_fs: None, ..container.clone() };
        ps::row(&container, true)
    });
    let mut text = "Images space usage:\n\n".to_owned();
    text.push_str(&table(
        &images::COLUMNS,
        "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
        images,
    )?);
    text.push_str("\nContainers space usage:\n\n");
    text.push_str(&table(
        &ps::COLUMNS,
        "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
        containers.collect(),
    )?);
    text.push_str("\nLocal Volumes space usage:\n\n");
    text.push_str(&table(
        &volume::COLUMNS,
        "table {{.Name}}\t{{.Links}}\t{{.Size}}",
        usage.volumes.iter().map(volume::row).collect(),
    )?);
    text.push_str("\nBuild cache usage: 0B\n\n");
    text.push_str(&table(
        &CACHE,
        "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
        Vec::new(),
    )?);
    if !usage.classes.is_empty() {
        text.push_str("\nState on disk:\n\n");
        text.push_str(&table(
            &CLASSES,
            "table {{.Class}}\t{{.Count}}\t{{.Size}}",
            usage.classes.iter().map(class).collect(),
        )?);
    }
    Ok(text)
}

fn class(class: &UsageClass) -> Value {
    Row::new(&CLASSES)
        .field("Class", class.name.as_str())
        .field("Count", class.count.to_string())
        .field("Size", units::human_size(i64::try_from(class.size).unwrap_or(i64::MAX)))
        .build()
}
