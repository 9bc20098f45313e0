//! Answers that say no, in the words of the specification.
//!
//! Spec: distribution-spec, "Error Codes".

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};
use super::storage::StorageError;

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The status of the answer.
    pub(super) status: StatusCode,
    code: &'static str,
    message: String,
    detail: Option<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:ident $code:literal;)*) => {
        impl Refusal {
            $($(#[$doc])*
            pub(super) fn $name(message: impl Into<String>) -> Self {
                Self::new(StatusCode::$status, $code, message)
            })*
        }
    };
}

refusals! {
    /// A blob that the repository does not have.
    blob_unknown = NOT_FOUND "BLOB_UNKNOWN";
    /// An upload that cannot go on like this.
    upload_invalid = BAD_REQUEST "BLOB_UPLOAD_INVALID";
    /// An upload that is not there.
    upload_unknown = NOT_FOUND "BLOB_UPLOAD_UNKNOWN";
    /// Bytes that are not those of the digest, or text that is no digest.
    digest_invalid = BAD_REQUEST "DIGEST_INVALID";
    /// A manifest that names what the repository does not have.
    manifest_blob_unknown = NOT_FOUND "MANIFEST_BLOB_UNKNOWN";
    /// A manifest that is none.
    manifest_invalid = BAD_REQUEST "MANIFEST_INVALID";
    /// A manifest that the repository does not have.
    manifest_unknown = NOT_FOUND "MANIFEST_UNKNOWN";
    /// A repository name that is none.
    name_invalid = BAD_REQUEST "NAME_INVALID";
    /// A repository that is not here.
    name_unknown = NOT_FOUND "NAME_UNKNOWN";
    /// Too large or not as long as it said.
    size_invalid = BAD_REQUEST "SIZE_INVALID";
    /// The same, of what may be sent at all.
    too_large = PAYLOAD_TOO_LARGE "SIZE_INVALID";
    /// A tag that is none.
    tag_invalid = BAD_REQUEST "TAG_INVALID";
    /// A number of entries that is none.
    number_invalid = BAD_REQUEST "PAGINATION_NUMBER_INVALID";
    /// Known, and not allowed.
    denied = FORBIDDEN "DENIED";
    /// Not known who asks.
    unauthorized = UNAUTHORIZED "UNAUTHORIZED";
    /// What this server does not do.
    unsupported = METHOD_NOT_ALLOWED "UNSUPPORTED";
    /// A request that makes no sense.
    invalid = BAD_REQUEST "UNSUPPORTED";
    /// Nothing is at this path.
    nowhere = NOT_FOUND "UNSUPPORTED";
    /// Too often.
    too_many = TOO_MANY_REQUESTS "TOOMANYREQUESTS";
    /// A client that sends too slowly.
    timeout = REQUEST_TIMEOUT "BLOB_UPLOAD_INVALID";
    /// A chunk that does not follow what is there.
    out_of_order = RANGE_NOT_SATISFIABLE "BLOB_UPLOAD_INVALID";
    /// Two requests want the same upload.
    conflict = CONFLICT "BLOB_UPLOAD_INVALID";
    /// The registry behind this one does not give it.
    upstream = BAD_GATEWAY "UNAVAILABLE";
    /// A fault of this server.
    internal = INTERNAL_SERVER_ERROR "UNKNOWN";
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, detail: None, headers: Vec::new() }
    }

    /// With what a program may want to know.
    #[must_use]
    pub(super) fn detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// With a header. A value that cannot be one is left out.
    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).map(|value| (name, value)));
        self
    }

    /// The same, with the challenge that browsers understand.
    pub(super) fn for_browsers(mut self, realm: &str) -> Self {
        self.headers.retain(|(name, _)| *name != WWW_AUTHENTICATE);
        self.header(WWW_AUTHENTICATE, &format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
    }

    /// What it says.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The answer.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(detail) = self.detail {
            error["detail"] = detail;
        }
        let text = json!({ "errors": [error] }).to_string();
        let mut response = Response::new(body::full(Bytes::from(text)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        if error.full {
            tracing::error!(error = text, "no room for what was pushed");
            return Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "UNAVAILABLE",
                "the server has no room left",
            );
        }
        // The client learns nothing of the server's paths.
        tracing::error!(error = text, "request failed");
        Self::internal("the server's store failed")
    }
}
