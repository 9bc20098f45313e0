//! Requests that make no sense, straight on the socket: each is refused as Docker refuses it, and
//! the daemon goes on.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use hull_test_support::Hull;
use hull_test_support::busybox::probe_image;
use hull_test_support::daemon::Daemon;
use rustix::process::Signal;
use serde_json::Value;

/// Request, body, status, and a part of the message. `box` is a container that was not started.
const REQUESTS: &[(&str, &str, u16, &str)] = &[
    // Bodies.
    ("POST /containers/create", "", 400, "invalid JSON: got EOF"),
    ("POST /containers/create", "{", 400, "invalid JSON"),
    ("POST /containers/create", "[]", 400, "invalid JSON"),
    ("POST /containers/create", "\"probe\"", 400, "invalid JSON"),
    ("POST /containers/create", "7", 400, "invalid JSON"),
    ("POST /containers/create", "null", 400, ""),
    ("POST /containers/create", "\u{0}", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":\"probe\"", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":\"probe\"}x", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":\"probe\"}{}", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":7}", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":\"probe\",\"Env\":{}}", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":\"probe\",\"Labels\":[]}", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":\"probe\",\"Tty\":\"yes\"}", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":\"probe\",\"StopTimeout\":\"x\"}", 400, "invalid JSON"),
    ("POST /containers/create", "{\"Image\":\"probe\",\"HostConfig\":[]}", 400, "invalid JSON"),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Memory\":\"x\"}}",
        400,
        "invalid JSON",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Memory\":1.5}}",
        400,
        "invalid JSON",
    ),
    ("POST /containers/create", "{}", 400, "no image given"),
    ("POST /containers/create", "{\"Image\":\"\"}", 400, ""),
    ("POST /containers/create", "{\"Image\":\"UPPER\"}", 400, "invalid reference format"),
    ("POST /containers/create", "{\"Image\":\"a b\"}", 400, "invalid reference format"),
    ("POST /containers/create", "{\"Image\":\"none\"}", 404, "No such image: none:latest"),
    ("POST /containers/create?name=-x", "{\"Image\":\"probe\"}", 400, "Invalid container name"),
    ("POST /containers/create?name=a%2Fb", "{\"Image\":\"probe\"}", 400, "Invalid container name"),
    ("POST /containers/create?name=..", "{\"Image\":\"probe\"}", 400, "Invalid container name"),
    ("POST /containers/create?name=xx%00", "{\"Image\":\"probe\"}", 400, "Invalid container name"),
    (
        "POST /containers/create?name=%C3%A9e",
        "{\"Image\":\"probe\"}",
        400,
        "Invalid container name",
    ),
    ("POST /containers/create?name=box", "{\"Image\":\"probe\"}", 409, "is already in use by"),
    ("POST /containers/create?platform=a/b/c/d", "{\"Image\":\"probe\"}", 400, "platform"),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Memory\":1}}",
        400,
        "Minimum memory limit allowed is 6MB",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"CpusetCpus\":\"x\"}}",
        400,
        "Invalid value x for cpuset cpus",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Binds\":[\"x\"]}}",
        400,
        "mount path must be absolute",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Binds\":[\"a:b:c:d\"]}}",
        400,
        "invalid volume specification: 'a:b:c:d'",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Binds\":[\"/none/at/all:/x:bogus\"]}}",
        400,
        "",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"CapAdd\":[\"NOPE\"]}}",
        400,
        "unknown capability",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"IpcMode\":\"x\"}}",
        400,
        "",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"PidMode\":\"x\"}}",
        400,
        "",
    ),
    ("POST /containers/create", "{\"Image\":\"probe\",\"HostConfig\":{\"ShmSize\":-5}}", 400, ""),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"OomScoreAdj\":5000}}",
        400,
        "oom score",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Runtime\":\"x\"}}",
        400,
        "",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"LogConfig\":{\"Type\":\"x\"}}}",
        400,
        "log driver",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"x\"}}}",
        400,
        "restart policy",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"SecurityOpt\":[\"x\"]}}",
        400,
        "invalid --security-opt",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Ulimits\":[{\"Name\":\"x\",\"Soft\":1}]}}",
        400,
        "ulimit",
    ),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"HostConfig\":{\"Mounts\":[{\"Type\":\"x\",\"Target\":\"/x\"}]}}",
        400,
        "invalid mount config for type \"x\"",
    ),
    ("POST /containers/create", "{\"Image\":\"probe\",\"StopSignal\":\"NOPE\"}", 400, "signal"),
    (
        "POST /containers/create",
        "{\"Image\":\"probe\",\"WorkingDir\":\"x\"}",
        400,
        "working directory",
    ),
    // Values of queries.
    ("GET /containers/json?limit=x", "", 400, "limit"),
    ("GET /containers/json?all=%zz", "", 400, "invalid URL escape"),
    ("GET /containers/json?filters=x", "", 400, "invalid filter"),
    ("GET /containers/json?filters=%5B%5D", "", 400, "invalid filter"),
    ("GET /containers/json?filters=%7B%22x%22:%5B%22y%22%5D%7D", "", 400, "invalid filter 'x'"),
    ("GET /containers/json?filters=%7B%22label%22:7%7D", "", 400, "invalid filter"),
    (
        "GET /containers/json?filters=%7B%22status%22:%5B%22x%22%5D%7D",
        "",
        400,
        "invalid filter 'status=x'",
    ),
    ("GET /containers/json?filters=%7B%22exited%22:%5B%22x%22%5D%7D", "", 400, "invalid filter"),
    (
        "GET /containers/json?filters=%7B%22before%22:%5B%22none%22%5D%7D",
        "",
        404,
        "No such container: none",
    ),
    ("GET /images/json?filters=x", "", 400, "invalid filter"),
    ("GET /images/json?filters=%7B%22x%22:%5B%22y%22%5D%7D", "", 400, "invalid filter 'x'"),
    ("GET /images/json?filters=%7B%22dangling%22:%5B%22x%22%5D%7D", "", 400, "invalid filter"),
    ("GET /images/json?filters=%7B%22before%22:%5B%22none%22%5D%7D", "", 404, "No such image"),
    ("GET /volumes?filters=x", "", 400, "invalid filter"),
    ("GET /volumes?filters=%7B%22x%22:%5B%22y%22%5D%7D", "", 400, "invalid filter"),
    ("GET /volumes?filters=%7B%22dangling%22:%5B%22x%22%5D%7D", "", 400, "invalid filter"),
    ("GET /system/df?type=x", "", 400, "unknown object type: x"),
    ("GET /containers/box/logs", "", 400, "you must choose at least one stream"),
    ("GET /containers/box/logs?stdout=1&tail=x", "", 400, "tail"),
    ("GET /containers/box/logs?stdout=1&since=x", "", 400, "x"),
    ("GET /containers/box/logs?stdout=1&until=x", "", 400, "x"),
    ("POST /containers/box/stop?t=x", "", 400, "x"),
    ("POST /containers/box/stop?signal=NOPE", "", 400, "invalid signal: NOPE"),
    ("POST /containers/box/kill?signal=NOPE", "", 400, "invalid signal: NOPE"),
    ("POST /containers/box/kill?signal=99", "", 400, "signal"),
    ("POST /containers/box/kill?signal=0", "", 400, "invalid signal: 0"),
    ("POST /containers/box/wait?condition=x", "", 400, "invalid condition"),
    ("POST /containers/box/resize", "", 400, "invalid resize height"),
    ("POST /containers/box/resize?h=x&w=1", "", 400, "invalid resize height \"x\""),
    ("POST /containers/box/resize?h=1&w=-1", "", 400, "invalid resize width \"-1\""),
    (
        "POST /containers/box/attach?stream=1&detachKeys=no-key",
        "",
        400,
        "Invalid detach keys (no-key) provided",
    ),
    ("POST /containers/box/exec", "", 400, ""),
    ("POST /containers/box/exec", "{", 400, "invalid JSON"),
    ("POST /containers/box/exec", "{}", 400, "No exec command specified"),
    ("POST /containers/box/exec", "{\"Cmd\":[]}", 400, "No exec command specified"),
    ("POST /containers/box/exec", "{\"Cmd\":\"x\"}", 400, "invalid JSON"),
    ("POST /exec/none/start", "{", 400, "invalid JSON"),
    ("POST /exec/none/resize", "", 400, "invalid resize height"),
    ("POST /containers/prune?filters=x", "", 400, "invalid filter"),
    ("POST /containers/prune?filters=%7B%22x%22:%5B%22y%22%5D%7D", "", 400, "invalid filter 'x'"),
    ("POST /containers/prune?filters=%7B%22until%22:%5B%22x%22%5D%7D", "", 400, "\"x\""),
    ("POST /images/prune?filters=x", "", 400, "invalid filter"),
    ("POST /images/prune?filters=%7B%22dangling%22:%5B%22x%22%5D%7D", "", 400, "invalid filter"),
    ("POST /volumes/prune?filters=x", "", 400, "invalid filter"),
    ("POST /volumes/create", "{", 400, "invalid JSON"),
    ("POST /volumes/create", "{\"Name\":\"/\"}", 400, "volume name"),
    ("POST /volumes/create", "{\"Name\":\"v1\",\"Driver\":\"none\"}", 400, "volume drivers"),
    ("POST /images/probe/tag", "", 400, "invalid reference format"),
    ("POST /images/probe/tag?repo=UPPER", "", 400, "invalid reference format"),
    ("POST /images/probe/tag?repo=a&tag=-", "", 400, "invalid"),
    ("GET /images/UPPER/json", "", 400, "invalid reference format"),
    // Objects and addresses that are not there.
    ("GET /containers/none/json", "", 404, "No such container: none"),
    ("GET /containers/none/logs?stdout=1", "", 404, "No such container: none"),
    ("POST /containers/none/start", "", 404, "No such container: none"),
    ("POST /containers/none/stop", "", 404, "No such container: none"),
    ("POST /containers/none/kill", "", 404, "No such container: none"),
    ("POST /containers/none/wait", "", 404, "No such container: none"),
    ("POST /containers/none/attach", "", 404, "No such container: none"),
    ("POST /containers/none/exec", "{\"Cmd\":[\"x\"]}", 404, "No such container: none"),
    ("GET /containers/none/top", "", 404, "No such container: none"),
    ("GET /containers/none/stats?stream=0", "", 404, "No such container: none"),
    ("GET /containers/none/changes", "", 404, "No such container: none"),
    ("GET /containers/none/export", "", 404, "No such container: none"),
    ("GET /containers/none/archive?path=/", "", 404, "No such container: none"),
    ("GET /containers/box/archive", "", 400, "path"),
    ("POST /containers/none/restart", "", 404, "No such container: none"),
    ("POST /containers/none/pause", "", 404, "No such container: none"),
    ("POST /containers/none/unpause", "", 404, "No such container: none"),
    ("POST /containers/none/rename?name=xx", "", 404, "No such container: none"),
    ("POST /containers/box/rename", "", 400, ""),
    ("POST /containers/box/rename?name=-x", "", 400, "Invalid container name"),
    ("POST /containers/none/update", "{}", 404, "No such container: none"),
    ("POST /containers/box/update", "{", 400, "invalid JSON"),
    ("POST /containers/box/update", "{\"Memory\":\"x\"}", 400, "invalid JSON"),
    ("POST /containers/box/update", "{\"Memory\":1}", 400, "Minimum memory limit"),
    ("POST /commit?container=none", "{}", 404, "No such container: none"),
    ("POST /commit?container=box", "{", 400, "invalid JSON"),
    ("GET /events?since=x", "", 400, "x"),
    ("GET /events?filters=x", "", 400, "invalid filter"),
    ("DELETE /networks/host", "", 403, "is a pre-defined network"),
    ("GET /networks/none1", "", 404, "network none1 not found"),
    ("DELETE /containers/none", "", 404, "No such container: none"),
    ("GET /exec/none/json", "", 404, "No such exec instance: none"),
    ("POST /exec/none/start", "{}", 404, "No such exec instance: none"),
    ("POST /exec/none/resize?h=1&w=1", "", 404, "No such exec instance: none"),
    ("GET /images/none/json", "", 404, "No such image: none:latest"),
    ("GET /images/none/history", "", 404, "No such image: none:latest"),
    ("POST /images/none/tag?repo=x", "", 404, "No such image: none:latest"),
    ("DELETE /images/none", "", 404, "No such image: none:latest"),
    ("GET /volumes/none", "", 404, "get none: no such volume"),
    ("DELETE /volumes/none", "", 404, "get none: no such volume"),
    ("GET /containers/%ff/json", "", 400, "invalid URL escape"),
    ("GET /containers/%zz/json", "", 400, "invalid URL escape"),
    ("GET /containers/%00/json", "", 404, "No such container"),
    ("GET /containers/..%2F..%2Fetc/json", "", 404, "No such container"),
    ("GET /nowhere", "", 404, "page not found"),
    ("GET /", "", 404, "page not found"),
    ("GET /containers", "", 404, "page not found"),
    ("GET /containers/create", "", 404, "page not found"),
    ("GET /containers/box/start", "", 404, "page not found"),
    ("POST /containers/json", "", 404, "page not found"),
    ("PUT /containers/json", "", 404, "page not found"),
    ("PATCH /containers/json", "", 404, "page not found"),
    ("DELETE /containers/json/x", "", 404, "page not found"),
    ("TRACE /info", "", 404, "page not found"),
    ("NOPE /info", "", 404, "page not found"),
    // Versions.
    ("GET /v1.23/info", "", 400, "client version 1.23 is too old. Minimum supported API version"),
    ("GET /v1/info", "", 400, "client version 1 is too old"),
    ("GET /v0.1/info", "", 400, "client version 0.1 is too old"),
    ("GET /v1.52/info", "", 400, "client version 1.52 is too new. Maximum supported API version"),
    ("GET /v1.51.1/info", "", 400, "client version 1.51.1 is too new"),
    ("GET /v99.0/info", "", 400, "client version 99.0 is too new"),
    ("GET /vx.y/info", "", 404, "page not found"),
    // States.
    ("POST /containers/box/kill", "", 409, "is not running"),
    ("POST /containers/box/exec", "{\"Cmd\":[\"x\"]}", 409, "is not running"),
    ("POST /containers/box/resize?h=1&w=1", "", 409, "is not running"),
];

/// Bytes that are hardly HTTP, the status of the answer, and a part of the message.
const BYTES: &[(&str, u16, &str)] = &[
    ("garbage\r\n\r\n", 400, "malformed HTTP request"),
    ("GET /info\r\n\r\n", 400, "malformed HTTP request"),
    ("GET /info HTTP/9.9\r\nHost: x\r\n\r\n", 400, "malformed HTTP request"),
    ("GET /in fo HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed HTTP request"),
    ("GET :::: HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed HTTP request"),
    ("\0\0\0\0\r\n\r\n", 400, "malformed HTTP request"),
    ("\x16\x03\x01\0\x05hello\r\n\r\n", 400, "malformed HTTP request"),
    ("GET /info HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, "malformed HTTP request"),
    ("GET /info HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400, "malformed HTTP request"),
    ("GET /info HTTP/1.1\r\nConnection: close\r\n\r\n", 400, "missing required Host header"),
    ("GET /nowhere HTTP/1.1\nHost: x\nConnection: close\n\n", 404, "page not found"),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        400,
        "malformed HTTP request",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n{}",
        400,
        "malformed HTTP request",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
        400,
        "malformed HTTP request",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        400,
        "malformed HTTP request",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        400,
        "malformed HTTP request",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        400,
        "the request body broke off",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
        400,
        "the request body broke off",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
        400,
        "the request body broke off",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         text/plain\r\nContent-Length: 2\r\n\r\n{}",
        400,
        "unsupported Content-Type header (text/plain): must be 'application/json'",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: 2\r\n\r\n{}",
        400,
        "unsupported Content-Type header",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         a;;\r\nContent-Length: 2\r\n\r\n{}",
        400,
        "malformed Content-Type header (a;;)",
    ),
    (
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        400,
        "malformed Content-Type header",
    ),
    (
        "GET /info HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: http://evil.example\r\n\r\n",
        403,
        "requests of web pages are refused",
    ),
];

fn message(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body:?}"));
    body["message"].as_str().expect("a message").to_owned()
}

#[track_caller]
fn check(daemon: &Daemon, bytes: &[u8], status: u16, part: &str) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
    let answer = daemon.raw(bytes);
    let found = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    assert_eq!(found, Some(status), "{shown:?}: {answer:?}");
    let body = answer.split_once("\r\n\r\n").expect("an answer has a head").1;
    let message = message(body);
    assert!(message.contains(part), "{shown:?}: {message}");
}

/// Who is refused before the body was sent may send it and gets the answer, not a broken pipe.
#[track_caller]
fn refused_while_it_still_sends(daemon: &Daemon) {
    const LENGTH: usize = 200 << 10;
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let head = format!(
        "PUT /containers/nosuch/archive?path=/ HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = BufReader::new(stream.try_clone().unwrap());
    let mut status = String::new();
    answer.read_line(&mut status).unwrap();
    assert_eq!(status.split(' ').nth(1), Some("404"), "{status}");
    stream.write_all(&vec![0; LENGTH]).unwrap();
    // The connection is good for another request.
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("No such container: nosuch"), "{rest}");
    assert!(rest.ends_with("OK"), "{rest}");
}

#[test]
fn privileged_malformed_requests_are_refused() {
    let Some(hull) = Hull::new() else { return };
    hull.load(&probe_image(), "probe");
    let daemon = Daemon::start(&hull);
    hull.ok(&["create", "--name", "box", "probe"]);
    assert!(REQUESTS.len() + BYTES.len() > 150);
    for (request, body, status, part) in REQUESTS {
        for prefix in ["", "/v1.24", "/v1.51"] {
            // Those that have a version of their own get no second one.
            let has_version = request.contains(" /v") && !request.contains(" /volumes");
            if has_version && !prefix.is_empty() {
                continue;
            }
            let asked = request.replacen(" /", &format!(" {prefix}/"), 1);
            let (found, answer) = daemon.ask(&asked, body);
            assert_eq!(found, *status, "{asked}: {answer}");
            let message = message(&answer);
            assert!(message.contains(part), "{asked}: {message}");
        }
    }
    for (bytes, status, part) in BYTES {
        check(&daemon, bytes.as_bytes(), *status, part);
    }
    let long = format!("GET /info HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(1 << 20));
    check(&daemon, long.as_bytes(), 431, "the head of the request");
    let many = format!("GET /info HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(500));
    check(&daemon, many.as_bytes(), 431, "the head of the request");
    let uri = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
    check(&daemon, uri.as_bytes(), 431, "the head of the request");

    refused_while_it_still_sends(&daemon);

    // Whoever is refused is in nobody's way, nor is who says nothing.
    let _silent = UnixStream::connect(daemon.socket()).unwrap();
    assert_eq!(daemon.ask("GET /v1.30/_ping", ""), (200, "OK".to_owned()));
    assert_eq!(hull.ok(&["ps", "-aq"]).lines().count(), 1);
    daemon.signal(Signal::TERM);
    drop(daemon);
    hull.finish();
}
