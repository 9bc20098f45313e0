//! `hull ps`

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};
use hull_api::{ContainerSummary, Port};

use crate::app::Context;
use crate::client::query;
use crate::format::listing::{self, Columns, Row, Wish};
use crate::format::{filters, text, time, units};
use crate::template::{NullKind, Value};
use crate::{options, out};

pub(super) static COLUMNS: Columns = Columns {
    type_name: "*formatter.ContainerContext",
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
};

const RAW: &str = "container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
";

pub(crate) fn command() -> Command {
    Command::new("ps").about("List containers").args([
        options::switch("all", Some('a'), "Show all containers (default shows just running)"),
        filters::argument(),
        listing::argument(),
        options::value(
            "last",
            Some('n'),
            "NUMBER",
            "Show n last created containers (includes all states)",
        ),
        options::switch(
            "latest",
            Some('l'),
            "Show the latest created container (includes all states)",
        ),
        options::switch("no-trunc", None, "Don't truncate output"),
        options::switch("quiet", Some('q'), "Only display container IDs"),
        options::switch("size", Some('s'), "Display total file sizes"),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let format = options::text(&matches, "format");
    let quiet = options::is_set(&matches, "quiet");
    if quiet && format.is_some() {
        out::error("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    let size =
        options::is_set(&matches, "size") || format.is_some_and(|text| text.contains(".Size"));
    let last = options::text(&matches, "last").filter(|count| *count != "-1");
    let limit = if options::is_set(&matches, "latest") { Some("1") } else { last };
    let one = |on: bool| on.then_some("1");
    let filters = filters::query(&matches)?;
    let query = query(&[
        ("all", one(options::is_set(&matches, "all"))),
        ("limit", limit),
        ("size", one(size && !quiet)),
        ("filters", filters.as_deref()),
    ]);
    let containers: Vec<ContainerSummary> =
        context.client().get(&format!("/containers/json{query}")).await?;
    let long = options::is_set(&matches, "no-trunc");
    let with_size = format!("{}\t{{{{.Size}}}}", COLUMNS.table);
    let table = if size { format!("table {with_size}") } else { "table".to_owned() };
    let format = match format {
        _ if quiet => "{{.ID}}",
        None | Some("table" | "") => table.as_str(),
        Some(format) => format,
    };
    let wish = Wish { format: Some(format), quiet };
    out::text(&listing::render(wish, &COLUMNS, RAW, |_| {
        containers.iter().map(|container| row(container, !long)).collect()
    })?);
    Ok(ExitCode::SUCCESS)
}

/// One container; `short` cuts long fields.
pub(super) fn row(container: &ContainerSummary, short: bool) -> Value {
    let command =
        if short { text::ellipsis(&container.command, 20) } else { container.command.clone() };
    let networks: Vec<&str> =
        container.network_settings.networks.keys().map(String::as_str).collect();
    let local = container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let created = time::from_seconds(container.created);
    Row::new(&COLUMNS)
        .field("Command", text::quote(&command))
        .field("CreatedAt", time::local(created))
        .field("ID", if short { text::short_id(&container.id) } else { &container.id })
        .field("Image", image(container, short))
        .field("Labels", text::labels(&container.labels))
        .field("LocalVolumes", local.to_string())
        .field("Mounts", mounts(container, short))
        .field("Names", names(container, short))
        .field("Networks", networks.join(","))
        .field("Platform", Value::Null(NullKind::Pointer))
        .field("Ports", ports(&container.ports))
        .field("RunningFor", time::since(created))
        .field("Size", size(container))
        .field("State", container.state.as_str())
        .field("Status", container.status.as_str())
        .labels(text::label_pairs(&container.labels))
        .build()
}

fn image(container: &ContainerSummary, short: bool) -> String {
    if container.image.is_empty() {
        return "<no image>".to_owned();
    }
    if !short {
        return container.image.clone();
    }
    let id = text::short_id(&container.image_id);
    if !id.is_empty() && id == text::short_id(&container.image) {
        return id.to_owned();
    }
    match text::split_reference(text::familiar(&container.image)) {
        (name, Some(tag), Some(_)) => format!("{name}:{tag}"),
        (name, None, Some(_)) => name.to_owned(),
        _ => text::familiar(&container.image).to_owned(),
    }
}

fn names(container: &ContainerSummary, short: bool) -> String {
    let mut names = container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    if short {
        // Further names are those of links, which have slashes inside.
        return names.find(|name| !name.contains('/')).unwrap_or_default().to_owned();
    }
    names.collect::<Vec<_>>().join(",")
}

fn mounts(container: &ContainerSummary, short: bool) -> String {
    let names = container.mounts.iter().map(|mount| {
        let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
        if short { text::ellipsis(name, 15) } else { name.clone() }
    });
    names.collect::<Vec<_>>().join(",")
}

fn size(container: &ContainerSummary) -> String {
    let own = units::short_size(container.size_rw.unwrap_or(0));
    match container.size_root_fs {
        Some(all) if all > 0 => format!("{own} (virtual {})", units::short_size(all)),
        _ => own,
    }
}

/// `0.0.0.0:80->80/tcp, 9988/tcp`; neighbours are joined to ranges.
fn ports(ports: &[Port]) -> String {
    let mut ports: Vec<&Port> = ports.iter().collect();
    ports.sort_by_key(|port| {
        (port.private_port, port.ip.clone(), port.public_port, port.kind.clone())
    });
    let mut shown: Vec<String> = Vec::new();
    let mut mapped: Vec<String> = Vec::new();
    let mut groups: Vec<(Option<&str>, &str, u16, u16)> = Vec::new();
    for port in ports {
        let address = port.ip.as_deref();
        if let (Some(address), Some(public)) = (address, port.public_port)
            && public != port.private_port
        {
            let host = bracketed(address);
            mapped.push(format!("{host}:{public}->{}/{}", port.private_port, port.kind));
            continue;
        }
        let private = port.private_port;
        match groups.iter_mut().find(|group| group.0 == address && group.1 == port.kind) {
            Some(group) if group.3.checked_add(1) == Some(private) => group.3 = private,
            Some(group) => {
                shown.push(port_group(*group));
                (group.2, group.3) = (private, private);
            }
            None => groups.push((address, &port.kind, private, private)),
        }
    }
    shown.extend(groups.into_iter().map(port_group));
    shown.extend(mapped);
    shown.join(", ")
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

fn port_group((address, kind, first, last): (Option<&str>, &str, u16, u16)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match address {
        Some(address) => format!("{}:{range}->{range}/{kind}", bracketed(address)),
        None => format!("{range}/{kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: Option<&str>, private: u16, public: Option<u16>) -> Port {
        let kind = "tcp".to_owned();
        Port { ip: ip.map(str::to_owned), private_port: private, public_port: public, kind }
    }

    #[test]
    fn ports_are_joined_as_docker_joins_them() {
        let any = Some("0.0.0.0");
        assert_eq!(ports(&[port(None, 80, None), port(None, 81, None)]), "80-81/tcp");
        assert_eq!(
            ports(&[port(any, 80, Some(80)), port(any, 81, Some(81))]),
            "0.0.0.0:80-81->80-81/tcp"
        );
        assert_eq!(
            ports(&[
                port(any, 80, Some(8080)),
                port(Some("::"), 80, Some(8080)),
                port(None, 9988, None)
            ]),
            "9988/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
    }

    #[test]
    fn a_row_is_dockers() {
        let container: ContainerSummary = serde_json::from_str(
            r#"{"Id":"13a9a413db9ac37e4ca0f2e347dfaa5bd3118833","Names":["/web"],"Image":"busybox",
            "ImageID":"sha256:9f775c5d3a02","Command":"echo 'hello with a long command'",
            "Created":1795475100,"State":"running","Status":"Up 2 seconds",
            "Labels":{"a":"b","c":"d"},"NetworkSettings":{"Networks":{"none":{}}},
            "Mounts":[{"Type":"bind","Source":"/host"},
                      {"Type":"volume","Name":"vol1","Driver":"local"}]}"#,
        )
        .unwrap();
        let render = |format| {
            let wish = Wish { format: Some(format), quiet: false };
            listing::render(wish, &COLUMNS, RAW, |_| vec![row(&container, true)]).unwrap()
        };
        assert_eq!(
            render(
                "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}"
            ),
            "CONTAINER ID   IMAGE     COMMAND                  STATUS         PORTS     NAMES\n\
             13a9a413db9a   busybox   \"echo 'hello with a …\"   Up 2 seconds             web\n"
        );
        assert_eq!(
            render("table {{.Label \"com.foo.bar-baz\"}}\\t{{.Names}}"),
            "bar baz   NAMES\n          web\n"
        );
        assert_eq!(
            render(
                "{{.Label \"a\"}}|{{.Names}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Platform}}|{{.Size}}"
            ),
            "b|web|/host,vol1|1|none|<nil>|0B\n"
        );
        assert_eq!(
            render(
                "table {{.ID|printf \"%.3s\"}}\\t{{pad .Names 1 1}}\\t{{truncate .Names 1}}\\t{{.Names | split \"e\"}}\\t{{len .Names}}"
            ),
            "CON        NAMES    NAMES     e         5\n13a        web      w         [e]       3\n"
        );
        let json = render("json");
        assert!(
            json.starts_with("{\"Command\":\"\\\"echo 'hello with a …\\\"\",\"CreatedAt\":\""),
            "{json}"
        );
        assert!(
            json.ends_with(",\"Size\":\"0B\",\"State\":\"running\",\"Status\":\"Up 2 seconds\"}\n"),
            "{json}"
        );
    }
}
