//! HTTP as the handlers see it: a request taken apart, a response put together.

mod filters;
mod query;
mod request;
mod request_body;
mod response;

pub use filters::Filters;
pub use query::Query;
pub use request::Request;
pub use request_body::RequestBody;
pub use response::{Body, BodySender, BodyWriter, Broken, Response};
pub(crate) use response::{json, json_with, refused, status, switch, typed};
