//! Which events a client wants.

use crate::error::ApiError;
use crate::http::Filters;
use hull_events::{Event, Kind};
use hull_oci::Reference;
use jiff::Timestamp;

const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Filters by which an object is chosen: by its id or its name, or how they begin.
const OBJECTS: &[&str] =
    &["config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"];

/// Actions with a colon and more, which are asked for without.
const WITH_MORE: &[&str] = &["health_status", "exec_create", "exec_start"];

/// What one client wants to be told of.
#[derive(Debug)]
pub(super) struct Wanted {
    filters: Filters,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Wanted {
    pub(super) fn new(
        filters: &Filters,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Self, ApiError> {
        filters.only(FILTERS)?;
        Ok(Self { filters: filters.clone(), since, until })
    }

    /// Whether an event is wanted.
    pub(super) fn has(&self, event: &Event) -> bool {
        let (filters, actor) = (&self.filters, &event.actor);
        let at = i128::from(event.time_nano);
        let in_time = self.since.is_none_or(|since| at >= since.as_nanosecond())
            && self.until.is_none_or(|until| at <= until.as_nanosecond());
        let name = actor.attributes.get("name").map_or("", String::as_str);
        let with_more = filters.get("event").iter().any(|text| WITH_MORE.contains(&text.as_str()));
        in_time
            && filters.any("type", |text| text == event.kind.word())
            && filters.any("scope", |text| *text == event.scope)
            && filters.any("event", |text| {
                event.action == *text || (with_more && event.action.starts_with(text.as_str()))
            })
            && OBJECTS.iter().all(|object| {
                filters.any(object, |text| {
                    actor.id.starts_with(text.as_str()) || name.starts_with(text.as_str())
                })
            })
            && filters.any("image", |text| is_of_image(event, text))
            && filters.labels("label", &actor.attributes)
    }
}

/// An image by its ID or name, with or without the tag; a container by the image it is of.
fn is_of_image(event: &Event, wanted: &str) -> bool {
    let key = if event.kind == Kind::Container { "image" } else { "name" };
    let name = event.actor.attributes.get(key).map_or("", String::as_str);
    let without_tag = |text: &str| {
        let reference = text.parse::<Reference>().ok()?;
        Some(reference.without_tag_and_digest().familiar())
    };
    [event.actor.id.as_str(), name]
        .iter()
        .any(|text| *text == wanted || without_tag(text).as_deref() == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn wants(filters: &str, event: &Event) -> bool {
        Wanted::new(&Filters::parse(filters).unwrap(), None, None).unwrap().has(event)
    }

    #[test]
    fn events_of_containers() {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let event = Event::now(Kind::Container, "exec_create: ls /", "c0ffee", labels);
        let event = event.with("image", "web:1").with("name", "shop");
        for (filters, yes) in [
            ("{}", true),
            (r#"{"type":["container","image"]}"#, true),
            (r#"{"type":["image"]}"#, false),
            (r#"{"event":["exec_create"]}"#, true),
            (r#"{"event":["exec"]}"#, false),
            (r#"{"container":["c0ff"]}"#, true),
            (r#"{"container":["shop"]}"#, true),
            (r#"{"container":["hop"]}"#, false),
            (r#"{"image":["web"]}"#, true),
            (r#"{"image":["web:1"]}"#, true),
            (r#"{"image":["web:2"]}"#, false),
            (r#"{"label":["tier=front"]}"#, true),
            (r#"{"label":["tier=back"]}"#, false),
            (r#"{"scope":["swarm"]}"#, false),
        ] {
            assert_eq!(wants(filters, &event), yes, "{filters}");
        }
        assert!(Wanted::new(&Filters::parse(r#"{"x":["y"]}"#).unwrap(), None, None).is_err());
    }

    #[test]
    fn times_are_bounds() {
        let event = Event::now(Kind::Volume, "create", "v", BTreeMap::new());
        let at = Timestamp::from_nanosecond(event.time_nano.into()).unwrap();
        let second = jiff::SignedDuration::from_secs(1);
        let has =
            |since, until| Wanted::new(&Filters::default(), since, until).unwrap().has(&event);
        assert!(has(Some(at), Some(at)));
        assert!(!has(Some(at + second), None) && !has(None, Some(at - second)));
    }
}
