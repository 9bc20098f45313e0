//! From a request to its answer.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SERVER,
    USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::access::{Access, Action, Caller, Presented, Scope};
use super::blocking::Blocking;
use super::body::{self, Body, Input};
use super::catalog::Catalog;
use super::config::{Config, MetricsFor, Quota};
use super::limit::Limiter;
use super::metrics::Metrics;
use super::mirror::Mirrors;
use super::refusal::Refusal;
use super::route::{self, RepositoryName, Route};
use super::uploads::Sessions;
use super::{access, blobs, listing, manifests, page, uploads};

/// The digest of what is sent or was taken.
pub(super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) catalog: Arc<Catalog>,
    pub(super) access: Access,
    pub(super) blocking: Blocking,
    pub(super) sessions: Sessions,
    pub(super) metrics: Metrics,
    /// What is fetched from other registries.
    pub(super) mirrors: Option<Mirrors>,
    /// Bounds requests of one client.
    pub(super) limiter: Option<Limiter>,
    /// Bounds wrong passwords of one client.
    pub(super) logins: Limiter,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) encrypted: bool,
}

/// One request, without its body.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: Vec<(String, String)>,
    pub(super) peer: Peer,
    caller: Caller,
}

/// Answers one request, always.
pub(super) async fn answer(
    shared: Arc<Shared>,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<Body> {
    let began = Instant::now();
    let route = Route::parse(request.uri().path());
    let mut entry = Entry {
        shared: Arc::clone(&shared),
        began,
        route: route.as_ref().map_or("nowhere", Route::label),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        agent: text(request.headers(), &USER_AGENT).to_owned(),
        peer,
        user: None,
        status: StatusCode::OK,
        sent: 0,
    };
    let response = dispatch(shared, peer, route, request, &mut entry.user).await;
    let mut response = response.unwrap_or_else(Refusal::into_response);
    let headers = response.headers_mut();
    for (name, value) in [
        ("docker-distribution-api-version", "registry/2.0"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let server = concat!("Hull/", env!("CARGO_PKG_VERSION"));
    headers.insert(SERVER, HeaderValue::from_static(server));
    entry.status = response.status();
    response.map(|body| Tracked { body, entry }.boxed_unsync())
}

async fn dispatch(
    shared: Arc<Shared>,
    peer: Peer,
    route: Result<Route, Refusal>,
    request: Request<Incoming>,
    user: &mut Option<String>,
) -> Result<Response<Body>, Refusal> {
    if let Some(limiter) = &shared.limiter
        && let Err(wait) = limiter.take(peer.address)
    {
        shared.metrics.limited.add(1);
        return Err(too_many("too many requests", wait));
    }
    let route = route?;
    let (head, incoming) = request.into_parts();
    let input = Input::new(incoming, shared.config.limits.stall);
    let query = route::query(head.uri.query());
    let mut headers = head.headers;
    // Of HTTP/2, where it is no header.
    if let Some(authority) = head.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, value);
    }
    let mut call =
        Call { shared, method: head.method, headers, query, peer, caller: Caller::Anonymous };
    if route == Route::Token {
        return token(&call, input).await;
    }
    let is_page = matches!(route, Route::Page(_));
    let answer = async {
        call.caller = identify(&call).await?;
        *user = call.caller.user().map(str::to_owned);
        serve(&call, route, input).await
    };
    match answer.await {
        // A browser knows passwords, not tokens.
        Err(refusal) if is_page && refusal.status == StatusCode::UNAUTHORIZED => {
            Err(refusal.for_browsers(&call.shared.config.name))
        }
        answer => answer,
    }
}

async fn serve(call: &Call, route: Route, input: Input) -> Result<Response<Body>, Refusal> {
    // A client that has this server as a mirror says which registry it means.
    let route = match (call.query("ns"), &call.shared.mirrors) {
        (Some(of), Some(mirrors)) => route.renamed(|name| mirrors.local(of, name)),
        _ => route,
    };
    let method = call.method.clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    match (route, method) {
        (Route::Base, _) if reads => base(call),
        (Route::Catalog, _) if reads => listing::catalog(call).await,
        (Route::Tags(name), _) if reads => listing::tags(call, &name).await,
        (Route::Referrers(name, subject), _) if reads => {
            listing::referrers(call, &name, &subject).await
        }
        (Route::Manifest(name, reference), _) if reads => {
            manifests::get(call, &name, &reference).await
        }
        (Route::Manifest(name, reference), Method::PUT) => {
            manifests::put(call, &name, &reference, input).await
        }
        (Route::Manifest(name, reference), Method::DELETE) => {
            manifests::delete(call, &name, &reference).await
        }
        (Route::Blob(name, digest), _) if reads => blobs::get(call, &name, &digest).await,
        (Route::Blob(name, digest), Method::DELETE) => blobs::delete(call, &name, &digest).await,
        (Route::Uploads(name), Method::POST) => uploads::start(call, &name, input).await,
        (Route::Upload(name, id), Method::PATCH) => uploads::append(call, &name, &id, input).await,
        (Route::Upload(name, id), Method::PUT) => uploads::complete(call, &name, &id, input).await,
        (Route::Upload(name, id), Method::GET) => uploads::status(call, &name, &id).await,
        (Route::Upload(name, id), Method::DELETE) => uploads::cancel(call, &name, &id).await,
        (Route::Metrics, _) if reads => metrics(call).await,
        (Route::Page(path), _) if reads => page::show(call, &path).await,
        (_, method) => Err(Refusal::unsupported(format!("{method} is not done here"))),
    }
}

/// `GET /v2/`: who can do nothing here yet is told how to authenticate.
fn base(call: &Call) -> Result<Response<Body>, Refusal> {
    call.check_known()?;
    let mut response = Response::new(body::full(Bytes::from_static(b"{}")));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

async fn metrics(call: &Call) -> Result<Response<Body>, Refusal> {
    let allowed = match call.shared.config.metrics {
        MetricsFor::Nobody => false,
        MetricsFor::ThisHost => call.peer.address.to_canonical().is_loopback(),
        MetricsFor::Everyone => true,
    };
    if !allowed {
        return Err(Refusal::nowhere("nothing is at \"/metrics\""));
    }
    let storage = call.catalog().storage.clone();
    let repositories = call.blocking(move || Ok(storage.repositories()?.len())).await?;
    let text = call.shared.metrics.text(repositories as u64);
    let mut response = Response::new(body::full(Bytes::from(text)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// `GET` and `POST /token`.
async fn token(call: &Call, input: Input) -> Result<Response<Body>, Refusal> {
    let access = &call.shared.access;
    if access.users.is_none() {
        return Err(Refusal::nowhere("this server gives no tokens: it has no users"));
    }
    let mut parameters = call.query.clone();
    let mut presented = Presented::read(&call.headers)?;
    match call.method {
        Method::GET => {}
        Method::POST => {
            let form = input.all(64 << 10).await?;
            parameters = route::query(Some(&String::from_utf8_lossy(&form)));
            let field = |name: &str| {
                let found = parameters.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone())
            };
            if field("grant_type").as_deref() != Some("password") {
                let message = "only grant_type=password is understood";
                return Err(Refusal::invalid(message));
            }
            let (user, password) = (field("username"), field("password"));
            let (Some(user), Some(password)) = (user, password) else {
                return Err(Refusal::invalid("username and password are missing"));
            };
            presented = Presented::Password { user, password };
        }
        _ => return Err(Refusal::unsupported("tokens are asked for with GET or POST")),
    }
    let user = match presented {
        Presented::Nothing => None,
        Presented::Password { user, password } => Some(login(call, user, password).await?),
        Presented::Token(_) => return Err(Refusal::invalid("a token does not give another")),
    };
    let scopes: Vec<_> = parameters
        .iter()
        .filter(|(name, _)| name == "scope")
        .flat_map(|(_, value)| Scope::parse(value))
        .collect();
    let grants = access.grants(user.as_deref(), &scopes);
    let token = access.tokens.issue(user.as_deref(), &grants);
    let life = access::token_life();
    let answer = json!({ "token": token, "access_token": token, "expires_in": life });
    let mut response = Response::new(body::full(Bytes::from(answer.to_string())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(hyper::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Who sends a request.
async fn identify(call: &Call) -> Result<Caller, Refusal> {
    let access = &call.shared.access;
    if access.users.is_none() {
        // What a client holds for another server does not matter here.
        return Ok(Caller::Anonymous);
    }
    match Presented::read(&call.headers)? {
        Presented::Nothing => Ok(Caller::Anonymous),
        Presented::Password { user, password } => {
            login(call, user, password).await.map(Caller::User)
        }
        Presented::Token(token) => access.tokens.read(&token).ok_or_else(|| {
            let message = "the token is not one of this server, or too old".to_owned();
            access.challenge(message, &call.realm(), None)
        }),
    }
}

/// Compares a password, which is slow on purpose: not for anybody as often as they like.
async fn login(call: &Call, user: String, password: String) -> Result<String, Refusal> {
    let shared = &call.shared;
    let Some(users) = &shared.access.users else {
        return Err(Refusal::unauthorized("this server has no users"));
    };
    if users.remembers(&user, &password) {
        return Ok(user);
    }
    if let Err(wait) = shared.logins.take(call.peer.address) {
        shared.metrics.limited.add(1);
        return Err(too_many("too many passwords", wait));
    }
    let (again, name) = (Arc::clone(shared), user.clone());
    let right = shared
        .blocking
        .run_slow(move || {
            let users = again.access.users.as_ref();
            Ok(users.is_some_and(|users| users.verify(&name, &password)))
        })
        .await?;
    if right {
        return Ok(user);
    }
    shared.metrics.logins_failed.add(1);
    tracing::warn!(user, client = %call.peer.address, "wrong user or password");
    let message = "wrong user or password".to_owned();
    Err(shared.access.challenge(message, &call.realm(), None))
}

fn too_many(message: &str, wait: std::time::Duration) -> Refusal {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    Refusal::too_many(format!("{message}: try again in {seconds} s"))
        .header(RETRY_AFTER, &seconds.to_string())
}

impl Call {
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.shared.catalog)
    }

    /// Runs work that waits for files.
    pub(super) async fn blocking<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        F: FnOnce() -> Result<T, Refusal> + Send + 'static,
        T: Send + 'static,
    {
        self.shared.blocking.run(work).await
    }

    /// The first parameter of this name.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Length of the body, if the client said it.
    pub(super) fn body_length(&self) -> Option<u64> {
        text(&self.headers, &hyper::header::CONTENT_LENGTH).parse().ok()
    }

    /// Whether answers are for the caller alone.
    pub(super) fn is_private(&self) -> bool {
        self.headers.contains_key(AUTHORIZATION) || self.shared.access.users.is_some()
    }

    pub(super) fn allows(&self, name: &RepositoryName, action: Action) -> bool {
        self.shared.access.allows(&self.caller, name, action)
    }

    /// Whether the caller is told that a repository exists. A token for something else does not
    /// hide what its holder may pull.
    pub(super) fn lists(&self, name: &RepositoryName) -> bool {
        self.shared.access.rules_allow(self.caller.user(), name.as_str(), Action::Pull)
    }

    pub(super) fn check(&self, name: &RepositoryName, actions: &[Action]) -> Result<(), Refusal> {
        self.shared.access.check(&self.caller, name, actions, &self.realm())
    }

    /// Refuses a push to a repository that is another registry's.
    pub(super) fn refuse_mirrored(&self, name: &RepositoryName) -> Result<(), Refusal> {
        if self.shared.mirrors.as_ref().is_some_and(|mirrors| mirrors.has(name)) {
            let message = format!("{} is fetched from another registry: push there", name.as_str());
            return Err(Refusal::denied(message));
        }
        Ok(())
    }

    /// Whether the caller said who they are, or nobody has to.
    pub(super) fn is_known(&self) -> bool {
        self.shared.access.users.is_none() || self.caller.user().is_some()
    }

    /// The registry's name as this client knows it.
    pub(super) fn host(&self) -> String {
        if let Some(url) = &self.shared.config.url {
            return url.rsplit("//").next().unwrap_or(url).to_owned();
        }
        let host = text(&self.headers, &HOST);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        match host.is_empty() || !host.bytes().all(plain) {
            true => self.shared.config.name.clone(),
            false => host.to_owned(),
        }
    }

    /// Refuses who did not say who they are, where there are users.
    pub(super) fn check_known(&self) -> Result<(), Refusal> {
        let access = &self.shared.access;
        if access.users.is_some() && self.caller == Caller::Anonymous {
            let message = "authentication is required".to_owned();
            return Err(access.challenge(message, &self.realm(), None));
        }
        Ok(())
    }

    /// Address of the token endpoint, as this client reaches the server.
    fn realm(&self) -> String {
        if let Some(url) = &self.shared.config.url {
            return format!("{url}/token");
        }
        let scheme = if self.peer.encrypted { "https" } else { "http" };
        format!("{scheme}://{}/token", self.host())
    }

    /// Refuses a push of `more` bytes for which a quota leaves no room.
    pub(super) async fn check_quota(
        &self,
        name: &RepositoryName,
        more: u64,
    ) -> Result<(), Refusal> {
        let room = self.room(name).await?;
        if more > room {
            let message = format!("{more} bytes do not fit: a quota leaves {room}");
            return Err(Refusal::denied(message));
        }
        Ok(())
    }

    /// How many bytes more may be pushed to a repository.
    pub(super) async fn room(&self, name: &RepositoryName) -> Result<u64, Refusal> {
        let quota = self.shared.config.quota;
        let largest = self.shared.config.limits.upload;
        if quota == Quota::default() {
            return Ok(largest);
        }
        let (catalog, name) = (self.catalog(), name.clone());
        self.blocking(move || {
            let mut room = largest;
            if let Some(most) = quota.repositories
                && !catalog.exists(&name)?
                && catalog.storage.repositories()?.len() as u64 >= most
            {
                let message = format!("this server takes no more than {most} repositories");
                return Err(Refusal::denied(message));
            }
            if let Some(most) = quota.repository_bytes {
                room = room.min(most.saturating_sub(used(&catalog, &name)?));
            }
            if let Some(most) = quota.bytes {
                let mut total = 0;
                for name in catalog.storage.repositories()? {
                    if let Ok(name) = RepositoryName::parse(&name) {
                        total += used(&catalog, &name)?;
                    }
                }
                room = room.min(most.saturating_sub(total));
            }
            Ok(room)
        })
        .await
    }
}

/// Bytes a repository holds, with what was uploaded and is not referred to yet.
fn used(catalog: &Catalog, name: &RepositoryName) -> Result<u64, Refusal> {
    let mut bytes = catalog.size(name)?;
    let view = catalog.view(name)?;
    for (digest, _) in catalog.storage.blobs(name.as_str())? {
        if !view.blobs.contains_key(&digest) {
            bytes += catalog.storage.stat(&digest)?.unwrap_or(0);
        }
    }
    Ok(bytes)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A line of the access log, written when the answer was sent or given up.
struct Entry {
    shared: Arc<Shared>,
    began: Instant,
    route: &'static str,
    method: String,
    path: String,
    agent: String,
    peer: Peer,
    user: Option<String>,
    status: StatusCode,
    sent: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let status = self.status.as_u16();
        self.shared.metrics.answered(self.route, &self.method, status, took);
        self.shared.metrics.sent.add(self.sent);
        let mut agent = String::new();
        for character in self.agent.chars().take(200) {
            write!(agent, "{}", character.escape_default()).expect("a string takes all");
        }
        tracing::info!(
            target: "hull_registry::access",
            client = %self.peer.address,
            user = self.user.as_deref().unwrap_or("-"),
            method = self.method,
            path = self.path,
            status,
            bytes = self.sent,
            milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            agent,
            "request"
        );
    }
}

/// A body that tells when it is done.
struct Tracked {
    body: Body,
    entry: Entry,
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            self.entry.sent += bytes.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
