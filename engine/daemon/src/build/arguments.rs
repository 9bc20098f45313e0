//! What `POST /build` of the Engine API asks for, as a request of ours.
//!
//! Spec: Engine API v1.51, "ImageBuild".

use std::collections::BTreeMap;

use hull_api::build::{BuildRequest, Context, Output};
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::http::Query;

/// Reads the query.
///
/// # Errors
/// Values that make no sense, and what cannot be done.
pub(super) fn request(query: &Query) -> Result<BuildRequest, ApiError> {
    let text = |name: &str| query.get(name).unwrap_or_default().to_owned();
    let lines = |name: &str| -> Vec<String> {
        query.all(name).filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    let arguments: BTreeMap<String, Option<String>> = json(query, "buildargs")?;
    let cache_from: Vec<String> = json(query, "cachefrom")?;
    let remote = text("remote");
    if query.flag("squash") {
        return Err(ApiError::invalid("squash is not supported: use a last stage that copies"));
    }
    let outputs: Vec<OutputOfDocker> = json(query, "outputs")?;
    let shm_size = query.number::<u64>("shmsize")?.unwrap_or_default();
    Ok(BuildRequest {
        context: match remote.as_str() {
            "" | "client-session" => Context::Stream,
            url => Context::Remote { url: url.to_owned() },
        },
        dockerfile: query.get("dockerfile").map(str::to_owned),
        build_args: arguments
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect(),
        target: query.get("target").map(str::to_owned),
        platforms: text("platform")
            .split(',')
            .filter(|platform| !platform.is_empty())
            .map(str::to_owned)
            .collect(),
        labels: json(query, "labels")?,
        tags: lines("t"),
        no_cache: query.flag("nocache"),
        pull: query.flag("pull"),
        network: match text("networkmode").as_str() {
            "default" | "bridge" => String::new(),
            other => other.to_owned(),
        },
        add_hosts: lines("extrahosts")
            .iter()
            .flat_map(|hosts| hosts.split(',').map(str::to_owned).collect::<Vec<_>>())
            .collect(),
        shm_size,
        ulimits: json(query, "ulimits")?,
        outputs: outputs
            .into_iter()
            .map(|output| Output { kind: output.kind, attributes: output.attributes })
            .collect(),
        cache_from: cache_from
            .into_iter()
            .map(|name| BTreeMap::from([("type".into(), "registry".into()), ("ref".into(), name)]))
            .collect(),
        ..BuildRequest::default()
    })
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OutputOfDocker {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Attrs", default)]
    attributes: BTreeMap<String, String>,
}

fn json<T: DeserializeOwned + Default>(query: &Query, name: &str) -> Result<T, ApiError> {
    let Some(text) = query.get(name) else { return Ok(T::default()) };
    let value: Option<T> = serde_json::from_str(text)
        .map_err(|error| ApiError::invalid(format!("invalid value of {name}: {error}")))?;
    Ok(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_asks() {
        let query = Query::parse(
            "t=a:1&t=b&dockerfile=sub%2FD&buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&\
             nocache=1&labels=%7B%22x%22%3A%22y%22%7D&networkmode=default&shmsize=5&target=s&\
             cachefrom=%5B%5D&ulimits=null&platform=&remote=",
        )
        .unwrap();
        let request = request(&query).unwrap();
        assert_eq!(request.tags, ["a:1", "b"]);
        assert_eq!(request.dockerfile.as_deref(), Some("sub/D"));
        assert_eq!(request.build_args, BTreeMap::from([("A".into(), "1".into())]));
        assert_eq!(request.labels["x"], "y");
        assert!(request.no_cache && !request.pull);
        assert_eq!((request.network.as_str(), request.shm_size), ("", 5));
        assert_eq!(request.context, Context::Stream);
        for bad in ["buildargs=x", "shmsize=-1", "squash=1", "labels=[1]"] {
            assert!(super::request(&Query::parse(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
