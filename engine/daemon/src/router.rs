//! Which handler answers which address.

use crate::error::ApiError;
use crate::http::{Request, Response};
use crate::service::Service;
use crate::{build, containers, events, images, networks, system, volumes};
use hyper::Method;

/// Answers a request.
///
/// # Errors
/// The handler's own, or `NotFound` if there is none.
pub(crate) async fn route(service: &Service, request: Request) -> Result<Response, ApiError> {
    let method = request.method.clone();
    let path = request.segments.clone();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (get, post) = (method == Method::GET, method == Method::POST);
    let delete = method == Method::DELETE;
    match path.as_slice() {
        ["_ping"] if get => Ok(system::ping()),
        ["version"] if get => system::version(),
        ["events"] if get => events::events(service, &request.query).await,
        ["info"] if get => system::info(service).await,
        ["system", "df"] if get => system::disk_usage(service, &request.query).await,
        ["hull", "check"] if post => system::check(service, &request.query).await,
        ["hull", "collect"] if post => system::collect(service).await,

        ["containers", "json"] if get => containers::list(service, &request.query).await,
        ["containers", "create"] if post => containers::create(service, request).await,
        ["containers", "prune"] if post => containers::prune(service, &request.query).await,
        ["containers", id, "json"] if get => containers::inspect(service, id, &request.query).await,
        ["containers", id, "logs"] if get => containers::logs(service, id, &request.query).await,
        ["containers", id, "start"] if post => containers::start(service, id).await,
        ["containers", id, "stop"] if post => containers::stop(service, id, &request.query).await,
        ["containers", id, "top"] if get => containers::top(service, id, &request.query).await,
        ["containers", id, "stats"] if get => containers::stats(service, id, &request.query).await,
        ["containers", id, "restart"] if post => {
            containers::restart(service, id, &request.query).await
        }
        ["containers", id, "update"] if post => containers::update(service, id, request).await,
        ["containers", id, "pause"] if post => containers::pause(service, id).await,
        ["containers", id, "unpause"] if post => containers::unpause(service, id).await,
        ["containers", id, "rename"] if post => {
            containers::rename(service, id, &request.query).await
        }
        ["containers", id, "kill"] if post => containers::kill(service, id, &request.query).await,
        ["containers", id, "wait"] if post => containers::wait(service, id, &request.query).await,
        ["containers", id, "attach"] if post => containers::attach(service, id, request).await,
        ["containers", id, "resize"] if post => {
            containers::resize(service, id, &request.query).await
        }
        ["containers", id, "exec"] if post => containers::exec_create(service, id, request).await,
        ["containers", id, "archive"] if request.head => {
            containers::archive_stat(service, id, &request.query).await
        }
        ["containers", id, "archive"] if get => {
            containers::archive_get(service, id, &request.query).await
        }
        ["containers", id, "archive"] if method == Method::PUT => {
            containers::archive_put(service, id, request).await
        }
        ["containers", id, "changes"] if get => containers::changes(service, id).await,
        ["containers", id, "export"] if get => containers::export(service, id).await,
        ["commit"] if post => containers::commit(service, request).await,
        ["containers", id] if delete => containers::delete(service, id, &request.query).await,

        ["exec", id, "start"] if post => containers::exec_start(service, id, request).await,
        ["exec", id, "resize"] if post => {
            containers::exec_resize(service, id, &request.query).await
        }
        ["exec", id, "json"] if get => containers::exec_inspect(service, id).await,

        ["volumes"] if get => volumes::list(service, &request.query).await,
        ["volumes", "create"] if post => volumes::create(service, request).await,
        ["volumes", "prune"] if post => volumes::prune(service, &request.query).await,
        ["volumes", name] if get => volumes::inspect(service, name).await,
        ["volumes", name] if delete => volumes::delete(service, name, &request.query).await,

        ["networks"] if get => networks::list(&request.query),
        ["networks", "create"] if post => networks::unavailable(),
        ["networks", "prune"] if post => networks::prune(&request.query),
        ["networks", _, "connect" | "disconnect"] if post => networks::unavailable(),
        ["networks", id] if get => networks::inspect(id),
        ["networks", id] if delete => networks::delete(id),

        ["build"] if post => build::classic_build(service, request).await,
        ["build", "prune"] if post => build::prune(service, &request.query).await,
        ["hull", "build"] if post => build::build(service, request).await,
        ["auth"] if post => images::auth(service, request).await,
        ["distribution", ..] => images::distribution(service, request).await,
        ["images", ..] => images::handle(service, request).await,
        _ => Err(ApiError::not_found("page not found")),
    }
}

#[cfg(test)]
mod tests;
