//! Requests over an in-memory connection, on a store of their own.

use crate::{Clients, Config, Service};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn message(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["message"].as_str().unwrap().to_owned()
    }
}

fn service(root: &tempfile::TempDir) -> Service {
    Service::new(Config {
        data_root: root.path().join("data"),
        exec_root: root.path().join("run"),
        helpers: Some("/nonexistent".into()),
        layer_mode: Some(hull_store::LayerMode::Unpack),
        clients: Clients::Own,
    })
}

async fn ask_with(service: &Service, request: &str, headers: &str, body: &str) -> Answer {
    let mut connection = service.connect();
    let length = body.len();
    let kind = "Content-Type: application/json\r\n";
    let text = format!(
        "{request} HTTP/1.1\r\nHost: hull\r\nConnection: close\r\n{kind}{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    connection.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn ask(service: &Service, request: &str, body: &str) -> Answer {
    ask_with(service, request, "", body).await
}

#[tokio::test]
async fn ping_needs_no_state() {
    let service = Service::new(Config {
        data_root: "/proc/nowhere".into(),
        exec_root: "/proc/nowhere".into(),
        helpers: None,
        layer_mode: None,
        clients: Clients::Own,
    });
    let answer = ask(&service, "GET /_ping", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
    assert!(answer.head.contains("api-version: 1.51"), "{}", answer.head);
    let answer = ask(&service, "HEAD /v1.24/_ping", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let answer = ask(&service, "GET /version", "").await;
    let version: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(version["MinAPIVersion"], "1.24");
    let answer = ask(&service, "GET /containers/json", "").await;
    assert!(answer.status >= 500, "{}", answer.status);
}

/// One or two of each kind: all of them are asked on a socket, in `tests/e2e/tests/requests.rs`.
#[tokio::test]
async fn bad_requests_are_refused_with_a_message() {
    let root = tempfile::tempdir().unwrap();
    let service = service(&root);
    for (request, body, status, part) in [
        ("GET /nowhere", "", 404, "page not found"),
        ("PUT /containers/json", "", 404, "page not found"),
        ("GET /v9.9/_ping", "", 400, "too new"),
        ("GET /containers/none/json", "", 404, "No such container: none"),
        ("POST /containers/create", "", 400, "got EOF while reading request body"),
        ("POST /exec/none/start", "{\"Detach\":true}", 404, "No such exec instance: none"),
        ("GET /volumes/none", "", 404, "no such volume"),
        ("GET /system/df?type=x", "", 400, "unknown object type: x"),
    ] {
        let answer = ask(&service, request, body).await;
        assert_eq!(answer.status, status, "{request}: {}", answer.body);
        let message = answer.message();
        assert!(message.contains(part), "{request}: {message}");
    }
    let answer = ask_with(&service, "GET /_ping", "Origin: http://evil.example\r\n", "").await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn an_empty_engine_lists_nothing() {
    let root = tempfile::tempdir().unwrap();
    let service = service(&root);
    for (request, expected) in [
        ("GET /v1.51/containers/json?all=1", json!([])),
        ("GET /images/json", json!([])),
        ("GET /volumes", json!({"Volumes": [], "Warnings": []})),
        ("POST /containers/prune", json!({"ContainersDeleted": [], "SpaceReclaimed": 0})),
        ("POST /volumes/prune", json!({"VolumesDeleted": [], "SpaceReclaimed": 0})),
    ] {
        let answer = ask(&service, request, "").await;
        assert_eq!(answer.status, 200, "{request}: {}", answer.body);
        assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), expected, "{request}");
    }
    let answer = ask(&service, "GET /info", "").await;
    let info: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((info["Containers"].as_i64(), info["Driver"].as_str()), (Some(0), Some("unpack")));
    let answer = ask(&service, "GET /system/df", "").await;
    let usage: Value = serde_json::from_str(&answer.body).unwrap();
    assert!(usage["Classes"].as_array().unwrap().len() > 5, "{usage}");
    let answer = ask(&service, "POST /hull/check?deep=1", "").await;
    let report: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(report["Problems"], json!([]), "{report}");
    assert_eq!(ask(&service, "POST /hull/collect", "").await.status, 200);
}

#[tokio::test]
async fn volumes_come_and_go() {
    let root = tempfile::tempdir().unwrap();
    let service = service(&root);
    let body = "{\"Name\":\"data\",\"Labels\":{\"a\":\"b\"}}";
    let made = ask(&service, "POST /volumes/create", body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let again = ask(&service, "POST /volumes/create", "{\"Name\":\"data\"}").await;
    assert_eq!((again.status, again.body), (201, made.body.clone()));
    assert_eq!(ask(&service, "GET /volumes/data", "").await.body, made.body);
    // A named volume is pruned only when all are asked for.
    let pruned = ask(&service, "POST /volumes/prune", "").await;
    assert!(pruned.body.contains("\"VolumesDeleted\":[]"), "{}", pruned.body);
    let listed = ask(&service, "GET /volumes?filters=%7B%22label%22:%5B%22a%22%5D%7D", "").await;
    assert!(listed.body.contains("\"data\""), "{}", listed.body);
    assert_eq!(ask(&service, "DELETE /volumes/data", "").await.status, 204);
    assert_eq!(ask(&service, "DELETE /volumes/data", "").await.status, 404);
    assert_eq!(ask(&service, "DELETE /volumes/data?force=1", "").await.status, 204);
}
