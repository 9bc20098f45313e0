//! `hull history`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use hull_api::image::ImageHistoryItem;

use crate::app::Context;
use crate::client::{encode, query};
use crate::format::listing::{self, Columns, Row, Wish};
use crate::format::{text, time, units};
use crate::template::Value;
use crate::{options, out};

static COLUMNS: Columns = Columns {
    type_name: "*image.historyContext",
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};

const EXACT: &str = "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

pub(crate) fn command() -> Command {
    Command::new("history").about("Show the history of an image").args([
        listing::argument(),
        options::switch(
            "human",
            Some('H'),
            "Print sizes and dates in human readable format (default true)",
        ),
        options::switch("no-trunc", None, "Don't truncate output"),
        options::value("platform", None, "PLATFORM", "Show history for the given platform"),
        options::switch("quiet", Some('q'), "Only show image IDs"),
        Arg::new("image").value_name("IMAGE").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let image = options::text(&matches, "image").unwrap_or_default();
    let query = query(&[("platform", options::text(&matches, "platform"))]);
    let items: Vec<ImageHistoryItem> =
        context.client().get(&format!("/images/{}/history{query}", encode(image))).await?;
    let human = matches.get_one::<bool>("human").copied().unwrap_or(true);
    let short = !options::is_set(&matches, "no-trunc");
    let format = match options::text(&matches, "format") {
        None | Some("table" | "") if !human && !options::is_set(&matches, "quiet") => Some(EXACT),
        other => other,
    };
    let wish = Wish { format, quiet: options::is_set(&matches, "quiet") };
    out::text(&listing::render(wish, &COLUMNS, COLUMNS.table, |_| {
        items.iter().map(|item| row(item, human, short)).collect()
    })?);
    Ok(ExitCode::SUCCESS)
}

fn row(item: &ImageHistoryItem, human: bool, short: bool) -> Value {
    let created = time::from_seconds(item.created);
    // What has no date of its own has the beginning of 1970, or of Go's calendar.
    let dated = item.created > 0;
    let by = item.created_by.replace('\t', " ");
    Row::new(&COLUMNS)
        .field("Comment", item.comment.as_str())
        .field("CreatedAt", time::local_rfc3339(created))
        .field("CreatedBy", if short { text::ellipsis(&by, 45) } else { by })
        .field("CreatedSince", if dated { time::since(created) } else { "N/A".to_owned() })
        .field("ID", if short { text::short_id(&item.id) } else { &item.id })
        .field("Size", if human { units::short_size(item.size) } else { item.size.to_string() })
        .build()
}
