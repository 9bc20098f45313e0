//! `hull search`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use http_body_util::BodyExt as _;
use hull_api::registry::SearchResult;
use hyper::Method;

use crate::app::Context;
use crate::client::{empty, query};
use crate::credentials::RegistryKey;
use crate::format::listing::{self, Columns, Row, Wish};
use crate::format::{filters, text};
use crate::registry::Remote;
use crate::template::Value;
use crate::{options, out};

static COLUMNS: Columns = Columns {
    type_name: "*registry.searchContext",
    table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    titles: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
};

pub(crate) fn command() -> Command {
    Command::new("search").about("Search a registry for images").args([
        filters::argument(),
        listing::argument(),
        options::value("limit", None, "NUMBER", "Max number of search results"),
        options::switch("no-trunc", None, "Don't truncate output"),
        Arg::new("term").value_name("TERM").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let term = options::text(&matches, "term").unwrap_or_default();
    let filters = filters::query(&matches)?;
    let limit = options::text(&matches, "limit").map(str::parse::<u32>).transpose();
    let Ok(limit) = limit else {
        let text = options::text(&matches, "limit").unwrap_or_default();
        bail!("invalid argument {text:?} for \"--limit\" flag: it is no number");
    };
    let limit = limit.filter(|limit| *limit > 0).map(|limit| limit.to_string());
    let query = query(&[
        ("term", Some(term)),
        ("limit", limit.as_deref()),
        ("filters", filters.as_deref()),
    ]);
    let remote = Remote::named(registry(term)).await;
    let path = format!("/images/search{query}");
    let response = remote.send(context.client(), (Method::GET, &path), None, empty()).await?;
    let bytes = response.into_body().collect().await?.to_bytes();
    let results: Option<Vec<SearchResult>> = serde_json::from_slice(&bytes)?;
    let whole = options::is_set(&matches, "no-trunc");
    let wish = Wish { format: options::text(&matches, "format"), quiet: false };
    out::text(&listing::render(wish, &COLUMNS, COLUMNS.table, |_| {
        results.iter().flatten().map(|result| row(result, whole)).collect()
    })?);
    Ok(ExitCode::SUCCESS)
}

/// The registry that a term begins with; Docker Hub where it begins with none.
fn registry(term: &str) -> RegistryKey {
    let first = term.split_once('/').map(|(first, _)| first);
    let first = first.filter(|first| first.contains(['.', ':']) || *first == "localhost");
    first.and_then(RegistryKey::parse).unwrap_or_else(RegistryKey::hub)
}

fn row(result: &SearchResult, whole: bool) -> Value {
    let description = result.description.replace(['\n', '\r'], " ");
    let mark = |set: bool| if set { "[OK]" } else { "" };
    Row::new(&COLUMNS)
        .field("Description", if whole { description } else { text::ellipsis(&description, 45) })
        .field("IsAutomated", mark(result.is_automated))
        .field("IsOfficial", mark(result.is_official))
        .field("Name", result.name.as_str())
        .field("StarCount", result.star_count.to_string())
        .build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_term_may_name_a_registry() {
        let registry = |term| super::registry(term).to_string();
        assert_eq!(registry("busybox"), "docker.io");
        assert_eq!(registry("user/image"), "docker.io");
        assert_eq!(registry("localhost:5000/x"), "localhost:5000");
        assert_eq!(registry("quay.io/x"), "quay.io");
        assert_eq!(registry("a..b/x"), "docker.io");
    }
}
