//! `hull images`

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use hull_api::image::ImageSummary;

use crate::app::Context;
use crate::client::query;
use crate::format::listing::{self, Columns, Row, Wish};
use crate::format::{filters, text, time, units};
use crate::template::Value;
use crate::{options, out};

pub(super) static COLUMNS: Columns = Columns {
    type_name: "*formatter.imageContext",
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};

const WITH_DIGEST: &str = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";

const RAW: &str = "repository: {{ .Repository }}
tag: {{.Tag}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
";

pub(crate) fn command() -> Command {
    Command::new("images").about("List images").args([
        options::switch("all", Some('a'), "Show all images"),
        options::switch("digests", None, "Show digests"),
        filters::argument(),
        listing::argument(),
        options::switch("no-trunc", None, "Don't truncate output"),
        options::switch("quiet", Some('q'), "Only show image IDs"),
        Arg::new("repository").value_name("REPOSITORY[:TAG]").num_args(0..=1),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let mut filters = filters::query(&matches)?;
    if let Some(repository) = options::text(&matches, "repository") {
        let mut map: BTreeMap<String, BTreeMap<String, bool>> = match &filters {
            Some(text) => serde_json::from_str(text)?,
            None => BTreeMap::new(),
        };
        map.entry("reference".to_owned()).or_default().insert(repository.to_owned(), true);
        filters = Some(serde_json::to_string(&map)?);
    }
    let all = options::is_set(&matches, "all").then_some("1");
    let query = query(&[("all", all), ("filters", filters.as_deref())]);
    let images: Vec<ImageSummary> = context.client().get(&format!("/images/json{query}")).await?;
    let digests = options::is_set(&matches, "digests");
    let quiet = options::is_set(&matches, "quiet");
    let asked = options::text(&matches, "format");
    let with_digests = digests || asked.is_some_and(|format| format.contains("{{.Digest}}"));
    let format = match asked {
        None | Some("table" | "") if digests && !quiet => Some(WITH_DIGEST),
        other => other,
    };
    let short = !options::is_set(&matches, "no-trunc");
    out::text(&listing::render(Wish { format, quiet }, &COLUMNS, RAW, |_| {
        images.iter().flat_map(|image| rows(image, short, with_digests)).collect()
    })?);
    Ok(ExitCode::SUCCESS)
}

/// One row for every name of the image.
fn rows(image: &ImageSummary, short: bool, with_digests: bool) -> Vec<Value> {
    let mut digests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for reference in &image.repo_digests {
        if let (name, _, Some(digest)) = text::split_reference(text::familiar(reference))
            && name != "<none>"
        {
            digests.entry(name).or_default().push(digest);
        }
    }
    let mut rows = Vec::new();
    let mut tagged = HashSet::new();
    for reference in &image.repo_tags {
        let (name, tag, _) = text::split_reference(text::familiar(reference));
        let Some(tag) = tag.filter(|tag| *tag != "<none>") else { continue };
        tagged.insert(name);
        match digests.get(name).filter(|_| with_digests) {
            Some(digests) => {
                rows.extend(digests.iter().map(|digest| row(image, short, (name, tag, digest))));
            }
            None => rows.push(row(image, short, (name, tag, "<none>"))),
        }
    }
    for (name, digests) in digests.iter().filter(|(name, _)| !tagged.contains(*name)) {
        if with_digests {
            rows.extend(digests.iter().map(|digest| row(image, short, (name, "<none>", digest))));
        } else {
            rows.push(row(image, short, (name, "<none>", "<none>")));
        }
    }
    if rows.is_empty() {
        rows.push(row(image, short, ("<none>", "<none>", "<none>")));
    }
    rows
}

/// The image under its first name.
pub(super) fn first_row(image: &ImageSummary, short: bool) -> Option<Value> {
    rows(image, short, false).into_iter().next()
}

fn row(image: &ImageSummary, short: bool, (name, tag, digest): (&str, &str, &str)) -> Value {
    let created = time::from_seconds(image.created);
    let known = |value: i64, shown: String| if value < 0 { "N/A".to_owned() } else { shown };
    let unique = image.size - image.shared_size;
    Row::new(&COLUMNS)
        .field("Containers", known(image.containers, image.containers.to_string()))
        .field("CreatedAt", time::local(created))
        .field("CreatedSince", if image.created > 0 { time::since(created) } else { String::new() })
        .field("Digest", digest)
        .field("ID", if short { text::short_id(&image.id) } else { &image.id })
        .field("Repository", name)
        .field("SharedSize", known(image.shared_size, units::human_size(image.shared_size)))
        .field("Size", units::short_size(image.size))
        .field("Tag", tag)
        .field("UniqueSize", known(image.shared_size, units::human_size(unique)))
        .field("VirtualSize", units::human_size(image.size))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_row() {
        let image: ImageSummary = serde_json::from_str(
            r#"{"Id":"sha256:9f775c5d3a028ff429198d8f946efca141a5965d09ca571958f60b60474d1ba9",
            "RepoTags":["busybox:latest","example.com/foo/bar:1.0"],"RepoDigests":[],
            "Created":1795475100,"Size":2063346,"SharedSize":-1,"Containers":3}"#,
        )
        .unwrap();
        let render = |format| {
            let wish = Wish { format: Some(format), quiet: false };
            listing::render(wish, &COLUMNS, RAW, |_| rows(&image, true, false)).unwrap()
        };
        assert_eq!(
            render("table {{.Repository}}:{{.Tag}}\\t{{.Size}}"),
            "REPOSITORY:TAG            SIZE\nbusybox:latest            2.06MB\n\
             example.com/foo/bar:1.0   2.06MB\n"
        );
        assert_eq!(
            render("{{.ID}} {{.VirtualSize}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}} {{.Digest}}")
                .lines()
                .next(),
            Some("9f775c5d3a02 2.063MB N/A N/A 3 <none>")
        );
        assert!(render("json").contains(r#""Digest":"\u003cnone\u003e","ID":"9f775c5d3a02""#));
        let dangling =
            ImageSummary { repo_tags: vec!["<none>:<none>".into()], ..ImageSummary::default() };
        assert_eq!(rows(&dangling, true, false).len(), 1);
    }
}
