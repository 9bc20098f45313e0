//! What a registry has: tags, referrers, and what a search finds.

use hull_oci::{Descriptor, Digest, Index, MAX_MANIFEST_BYTES, Reference};
use hyper::header::{ACCEPT, LINK};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::Client;
use super::body::Body;
use super::dial::{Target, Want};
use super::endpoint::{DOCKER_HUB, DOCKER_HUB_INDEX, Endpoint};
use super::error::{ClientError, FailureKind, shown};
use super::exchange::{Ask, Place, Reply};
use super::pool::Outgoing;
use super::tokens::scopes;
use crate::url::{Authority, Url, encode};

/// The longest page, and the most pages and entries of a list.
const MAX_PAGE: usize = 4 << 20;
const MAX_PAGES: usize = 1000;
const MAX_ENTRIES: usize = 200_000;

/// One repository that a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchResult {
    /// Its name, as the registry shows it.
    pub name: String,
    /// What its owner says of it.
    pub description: String,
    /// How many people liked it.
    pub stars: u64,
    /// Whether the registry's owner vouches for it.
    pub official: bool,
    /// Whether it is built by the registry.
    pub automated: bool,
}

#[derive(Deserialize)]
struct RawTags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawCatalog {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawSearch {
    results: Option<Vec<RawResult>>,
}

#[derive(Deserialize)]
struct RawResult {
    name: String,
    description: Option<String>,
    star_count: Option<u64>,
    is_official: Option<bool>,
    is_automated: Option<bool>,
}

impl Client {
    /// All tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tags(&self, repository: &Reference) -> Result<Vec<String>, ClientError> {
        let name = repository.repository();
        let listed = self.any(repository.registry(), async |endpoint| {
            let first = format!("{name}/tags/list?n=1000");
            let scopes = scopes(&[(name, "pull")]);
            self.pages(endpoint, name, &scopes, &first, |page| {
                let raw: RawTags = serde_json::from_slice(page)?;
                Ok(raw.tags.unwrap_or_default())
            })
            .await
        });
        let tags = listed.await.map_err(|error| {
            error.on(format!("cannot list the tags of {}", repository.familiar_name()))
        })?;
        // What is no tag could not be asked for.
        Ok(tags.into_iter().filter(|tag| repository.with_tag(tag).is_ok()).collect())
    }

    /// Manifests that say they are about `digest`. Spec: distribution-spec, "Listing Referrers".
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn referrers(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let listed = self.any(repository.registry(), async |endpoint| {
            self.referrers_of(endpoint, repository, digest).await
        });
        listed.await.map_err(|error| {
            let name = repository.familiar_name();
            error.on(format!("cannot list what refers to {name}@{digest}"))
        })
    }

    async fn referrers_of(
        &self,
        endpoint: &Endpoint,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let name = repository.repository();
        let scopes = scopes(&[(name, "pull")]);
        let first = format!("{name}/referrers/{digest}");
        let parse = |page: &[u8]| {
            let index = Index::parse(page).map_err(serde::de::Error::custom)?;
            Ok(index.manifests)
        };
        match self.pages(endpoint, name, &scopes, &first, parse).await {
            Err(error)
                if matches!(
                    error.kind,
                    FailureKind::NotFound | FailureKind::Unsupported | FailureKind::Invalid
                ) => {}
            listed => return listed,
        }
        // Registries before 1.1 keep them as a tag; none there is none.
        let tag = format!("{name}/manifests/{}-{}", digest.algorithm().as_str(), digest.hex());
        let accept = Some(hull_oci::media_type::OCI_INDEX.to_owned());
        let reply = self.read_from(endpoint, Method::GET, repository, &tag, accept).await?;
        match reply.answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Vec::new()),
            _ => return Err(reply.fail().await),
        }
        let page = reply.answer.read(MAX_MANIFEST_BYTES).await?;
        let page = page.ok_or_else(|| ClientError::invalid("the list is longer than 4 MiB"))?;
        parse(&page).map_err(|error: serde_json::Error| ClientError::invalid(error.to_string()))
    }

    /// Repositories of `registry` that fit `term`, at most `limit`: by its search, or else by
    /// name among all it has.
    ///
    /// # Errors
    /// [`ClientError`]; `Unsupported` if it has neither.
    pub async fn search(
        &self,
        registry: &str,
        term: &str,
        limit: usize,
    ) -> Result<Vec<SearchResult>, ClientError> {
        let on = |error: ClientError| error.on(format!("cannot search {registry}"));
        let places = self.places(registry).map_err(on)?;
        let origin = places.origin().map_err(on)?;
        if let Some(mut found) = self.index_search(origin, term, limit).await.map_err(on)? {
            found.truncate(limit);
            return Ok(found);
        }
        let names = self
            .pages(origin, "", "registry:catalog:*", "_catalog?n=1000", |page| {
                let raw: RawCatalog = serde_json::from_slice(page)?;
                Ok(raw.repositories.unwrap_or_default())
            })
            .await;
        let names = match names {
            Ok(names) => names,
            Err(error)
                if matches!(error.kind, FailureKind::NotFound | FailureKind::Unsupported) =>
            {
                let message = format!("{registry} has no search and lists no repositories");
                return Err(ClientError::new(FailureKind::Unsupported, message));
            }
            Err(error) => return Err(on(error)),
        };
        let fits = names.into_iter().filter(|name| name.contains(term)).take(limit);
        Ok(fits.map(|name| SearchResult { name: shown(&name), ..Default::default() }).collect())
    }

    /// The search of Docker's old index; `None` if the registry has none.
    async fn index_search(
        &self,
        origin: &Endpoint,
        term: &str,
        limit: usize,
    ) -> Result<Option<Vec<SearchResult>>, ClientError> {
        let mut path = "/v1/search?q=".to_owned();
        encode(&mut path, term);
        path.push_str(&format!("&n={}", limit.clamp(1, 100)));
        let target = if origin.registry == DOCKER_HUB {
            let authority: Authority =
                DOCKER_HUB_INDEX.parse().map_err(|error: crate::url::ParseUrlError| {
                    ClientError::invalid(error.to_string())
                })?;
            Target { authority, want: Want::Https, sent_from: None }
        } else {
            origin.target.clone()
        };
        let mut headers = hyper::HeaderMap::new();
        headers.insert(hyper::header::USER_AGENT, self.agent().clone());
        let outgoing = Outgoing { method: Method::GET, target: path, headers, body: Body::empty() };
        let answer = self.send_patiently(&target, outgoing).await?;
        if answer.status != StatusCode::OK {
            return Ok(None);
        }
        let Some(page) = answer.read(MAX_PAGE).await? else { return Ok(None) };
        let Ok(raw) = serde_json::from_slice::<RawSearch>(&page) else { return Ok(None) };
        let results = raw.results.unwrap_or_default().into_iter().map(|raw| SearchResult {
            name: shown(&raw.name),
            description: shown(&raw.description.unwrap_or_default()),
            stars: raw.star_count.unwrap_or(0),
            official: raw.is_official.unwrap_or(false),
            automated: raw.is_automated.unwrap_or(false),
        });
        Ok(Some(results.collect()))
    }

    /// Reads a list page by page.
    async fn pages<T>(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        scopes: &str,
        first: &str,
        parse: impl Fn(&[u8]) -> Result<Vec<T>, serde_json::Error>,
    ) -> Result<Vec<T>, ClientError> {
        let mut entries = Vec::new();
        let mut next: Option<Url> = None;
        for _ in 0..MAX_PAGES {
            let place = next.as_ref().map_or(Place::Path(first), Place::Url);
            let headers = vec![(ACCEPT, "application/json, */*;q=0.5".to_owned())];
            let ask = Ask { method: Method::GET, place, repository, scopes, headers };
            let reply = self.exchange(endpoint, &ask, Body::empty()).await?;
            if reply.answer.status != StatusCode::OK {
                return Err(reply.fail().await);
            }
            let following = self.next_page(&reply)?;
            let page = reply.answer.read(MAX_PAGE).await?;
            let page = page.ok_or_else(|| ClientError::invalid("a page is longer than 4 MiB"))?;
            let listed = parse(&page)
                .map_err(|error| ClientError::invalid(format!("a page is no list: {error}")))?;
            let nothing = listed.is_empty();
            entries.extend(listed);
            if entries.len() > MAX_ENTRIES {
                return Err(ClientError::invalid(format!("more than {MAX_ENTRIES} entries")));
            }
            match following {
                Some(url) if !nothing => next = Some(url),
                _ => return Ok(entries),
            }
        }
        Err(ClientError::invalid(format!("more than {MAX_PAGES} pages")))
    }

    /// Spec: RFC 8288, of which registries use `<address>; rel="next"`.
    fn next_page(&self, reply: &Reply) -> Result<Option<Url>, ClientError> {
        let Some(link) = reply.answer.header(LINK) else { return Ok(None) };
        let next = link.split(',').find_map(|link| {
            let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let relation = parameters.replace([' ', '"'], "");
            relation.split(';').any(|parameter| parameter == "rel=next").then_some(address)
        });
        next.map(|address| self.accepted(reply, address)).transpose()
    }
}
