//! `GET /events`: the log of events, from any time, and on as it grows.

use super::filter::Wanted;
use crate::containers::parse_time;
use crate::error::ApiError;
use crate::http::{Body, BodySender, Query, Response, typed};
use crate::service::Service;
use crate::watch::Watch;
use hull_events::{Event, From, Kind, Reader};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// One event as it is sent: with the words that clients knew before there were others.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(flatten)]
    event: &'a Event,
}

impl<'a> Message<'a> {
    fn new(event: &'a Event) -> Self {
        let old = matches!(event.kind, Kind::Container | Kind::Image);
        let image = event.actor.attributes.get("image").map(String::as_str);
        Self {
            status: old.then_some(event.action.as_str()),
            id: old.then_some(event.actor.id.as_str()),
            from: image.filter(|_| event.kind == Kind::Container),
            event,
        }
    }
}

/// What one client is told.
struct Telling {
    reader: Reader,
    watch: Watch,
    wanted: Wanted,
    until: Option<Timestamp>,
}

/// `GET /events`.
pub(crate) async fn events(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let time = |name: &str| query.get(name).filter(|text| *text != "0").map(parse_time).transpose();
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(ApiError::invalid("`since` time cannot be after `until` time"));
    }
    let wanted = Wanted::new(&query.filters()?, since, until)?;
    let telling = service
        .run(move |engine| {
            let root = engine.store()?.data_root();
            let failed = |error: &std::io::Error| {
                ApiError::internal(error).context("cannot read the log of events")
            };
            let folder = root.join(hull_events::FOLDER);
            // A store of an older engine has none.
            std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
            let watch = engine.watcher().watch(&[&folder])?;
            // Docker tells of what is past to who asks for one of the two.
            let from = match (since, until) {
                (Some(since), _) => From::Time(nanoseconds(since)),
                (None, Some(_)) => From::Time(0),
                (None, None) => From::Now,
            };
            let reader = Reader::open(root, from).map_err(|error| failed(&error))?;
            Ok(Telling { reader, watch, wanted, until })
        })
        .await?;
    let (sender, body) = Body::stream();
    let service = service.clone();
    tokio::spawn(async move {
        if let Err(error) = tell(&service, telling, &sender).await {
            tracing::warn!(%error, "the log of events broke off");
            sender.break_off().await;
        }
    });
    Ok(typed("application/json", body))
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

async fn tell(
    service: &Service,
    mut telling: Telling,
    sender: &BodySender,
) -> Result<(), ApiError> {
    loop {
        let (events, back) = service
            .run(move |_| {
                let events = telling.reader.next_events();
                let events = events.map_err(|error| {
                    ApiError::internal(&error).context("cannot read the log of events")
                })?;
                Ok((events, telling))
            })
            .await?;
        telling = back;
        if events.is_empty() {
            let left = telling.until.map(|until| Timestamp::now().duration_until(until));
            let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            tokio::select! {
                () = telling.watch.changed() => {}
                () = tokio::time::sleep(left.unwrap_or(Duration::MAX)), if left.is_some() => {}
                () = sender.closed() => return Ok(()),
            }
            continue;
        }
        let mut bytes = Vec::new();
        for event in events.iter().filter(|event| telling.wanted.has(event)) {
            serde_json::to_writer(&mut bytes, &Message::new(event))
                .map_err(|error| ApiError::internal(&error))?;
            bytes.push(b'\n');
        }
        if !bytes.is_empty() && !sender.send(bytes).await {
            return Ok(());
        }
    }
}
