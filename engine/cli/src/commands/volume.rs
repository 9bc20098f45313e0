//! `hull volume`: `ls`, `create` and `rm`.

use hull_api::Volume;

use crate::format::listing::{Columns, Row};
use crate::format::{text, units};
use crate::template::Value;

pub(super) static COLUMNS: Columns = Columns {
    type_name: "*formatter.volumeContext",
    table: "{{.Driver}}\t{{.Name}}",
    titles: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Availability", "AVAILABILITY"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
};

pub(super) fn row(volume: &Volume) -> Value {
    let usage = volume.usage_data.as_ref();
    let known = |value: Option<String>| value.unwrap_or_else(|| "N/A".to_owned());
    Row::new(&COLUMNS)
        .field("Availability", "N/A")
        .field("Driver", volume.driver.as_str())
        .field("Group", "N/A")
        .field("Labels", text::labels(&volume.labels))
        .field("Links", known(usage.map(|usage| usage.ref_count.to_string())))
        .field("Mountpoint", volume.mountpoint.as_str())
        .field("Name", volume.name.as_str())
        .field("Scope", volume.scope.as_str())
        .field("Size", known(usage.map(|usage| units::human_size(usage.size))))
        .field("Status", "N/A")
        .labels(text::label_pairs(&volume.labels))
        .build()
}

/// `hull volume ls`
pub(crate) mod ls {
    use std::process::ExitCode;

    use anyhow::Result;
    use clap::{ArgMatches, Command};
    use hull_api::VolumeListResponse;

    use super::{COLUMNS, row};
    use crate::app::Context;
    use crate::client::query;
    use crate::format::filters;
    use crate::format::listing::{self, Wish};
    use crate::{options, out};

    const RAW: &str = "name: {{.Name}}\ndriver: {{.Driver}}\n";

    pub(crate) fn command() -> Command {
        Command::new("ls").about("List volumes").args([
            filters::argument(),
            listing::argument(),
            options::switch("quiet", Some('q'), "Only display volume names"),
        ])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let filters = filters::query(&matches)?;
        let query = query(&[("filters", filters.as_deref())]);
        let mut list: VolumeListResponse =
            context.client().get(&format!("/volumes{query}")).await?;
        list.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        for warning in &list.warnings {
            out::error(&format!("WARNING: {warning}"));
        }
        let quiet = options::is_set(&matches, "quiet");
        let format = match options::text(&matches, "format") {
            None | Some("table" | "") if quiet => Some("{{.Name}}"),
            other => other,
        };
        let wish = Wish { format, quiet };
        out::text(&listing::render(wish, &COLUMNS, RAW, |_| {
            list.volumes.iter().map(row).collect()
        })?);
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull volume create`
pub(crate) mod create {
    use std::process::ExitCode;

    use anyhow::Result;
    use clap::{Arg, ArgMatches, Command};
    use hull_api::{Volume, VolumeCreateOptions};

    use crate::app::Context;
    use crate::{options, out};

    pub(crate) fn command() -> Command {
        Command::new("create").about("Create a volume").args([
            options::value("driver", Some('d'), "DRIVER", "Specify volume driver name (local)"),
            options::list("label", None, "NAME=VALUE", "Set metadata for a volume"),
            options::list("opt", Some('o'), "NAME=VALUE", "Set driver specific options"),
            Arg::new("name").value_name("VOLUME"),
        ])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let text = |flag| options::text(&matches, flag).unwrap_or_default().to_owned();
        let pairs = |flag| {
            let words = options::texts(&matches, flag).into_iter();
            words
                .map(|word| match word.split_once('=') {
                    Some((name, value)) => (name.to_owned(), value.to_owned()),
                    None => (word, String::new()),
                })
                .collect()
        };
        let body = VolumeCreateOptions {
            name: text("name"),
            driver: text("driver"),
            driver_opts: pairs("opt"),
            labels: pairs("label"),
        };
        let volume: Volume = context.client().post("/volumes/create", &body).await?;
        out::line(&volume.name);
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull volume rm`
pub(crate) mod rm {
    use std::process::ExitCode;

    use anyhow::Result;
    use clap::{Arg, ArgMatches, Command};

    use crate::app::Context;
    use crate::client::{encode, query};
    use crate::{options, out};

    pub(crate) fn command() -> Command {
        Command::new("rm").about("Remove one or more volumes").args([
            options::switch("force", Some('f'), "Force the removal of one or more volumes"),
            Arg::new("volume").value_name("VOLUME").num_args(1..).required(true),
        ])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let force = options::is_set(&matches, "force").then_some("1");
        let query = query(&[("force", force)]);
        super::super::each(&options::texts(&matches, "volume"), async |name| {
            let path = format!("/volumes/{}{query}", encode(name));
            let _: serde_json::Value = context.client().delete(&path).await?;
            out::line(name);
            Ok(())
        })
        .await
    }
}
