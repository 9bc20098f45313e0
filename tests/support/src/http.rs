//! A client of HTTP/1.1 that sends exactly what a test says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Where requests go, and as whom.
#[derive(Debug, Clone)]
pub struct Http {
    address: String,
    authorization: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A request that did not come to an answer.
#[derive(Debug)]
pub struct Lost(pub String);

impl Http {
    /// Of `address`: `127.0.0.1:5000`.
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), authorization: None }
    }

    /// With an `Authorization` header on every request.
    #[must_use]
    pub fn as_whom(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.to_owned());
        self
    }

    /// Where requests go.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request with a body of known length.
    ///
    /// # Errors
    /// If no whole answer comes.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Lost> {
        let has_length =
            headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let bodiless = body.is_empty() && matches!(method, "GET" | "HEAD" | "DELETE");
        let length = match has_length || bodiless {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let mut bytes = self.head(method, path, headers, &length).into_bytes();
        bytes.extend_from_slice(body);
        self.exchange(method, &bytes)
    }

    /// The same; a lost answer fails the test.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        match self.try_send(method, path, headers, body) {
            Ok(answer) => answer,
            Err(Lost(reason)) => panic!("{method} {path}: {reason}"),
        }
    }

    /// `GET`
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Sends a body in chunks of unknown number.
    #[track_caller]
    pub fn send_streamed(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let coding = "Transfer-Encoding: chunked\r\n";
        let mut bytes = self.head(method, path, headers, coding).into_bytes();
        for chunk in body.chunks(1000) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        match self.exchange(method, &bytes) {
            Ok(answer) => answer,
            Err(Lost(reason)) => panic!("{method} {path}: {reason}"),
        }
    }

    /// A connection of its own, for what is no whole request.
    ///
    /// # Panics
    /// If there is none.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    /// A request's first lines, all of them, with an empty one at their end.
    pub fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], more: &str) -> String {
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let who = self.authorization.as_ref();
        let who = who.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{who}{lines}{more}\r\n",
            self.address
        )
    }

    fn exchange(&self, method: &str, bytes: &[u8]) -> Result<Answer, Lost> {
        let lost = |what: &str| Lost(what.to_owned());
        let mut stream =
            TcpStream::connect(&self.address).map_err(|error| Lost(error.to_string()))?;
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).map_err(|error| Lost(error.to_string()))?;
        // A server that has heard enough may close while we still write.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let end = find(&answer, b"\r\n\r\n").ok_or_else(|| Lost(format!("no answer: {read:?}")))?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| lost("no status"))?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: answer[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(&answer.body).ok_or_else(|| lost("the body broke off"))?;
        }
        let length = answer.header("content-length").and_then(|text| text.parse::<usize>().ok());
        let bodiless = method == "HEAD" || status == 204 || status == 304;
        if !bodiless && length.is_some_and(|length| length != answer.body.len()) {
            return Err(lost("the body broke off"));
        }
        Ok(answer)
    }
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of the first error in the body.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = find(bytes, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
