//! Numbers for those who watch, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the classes of durations, in seconds.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, String, u16), u64>>,
    durations: Mutex<BTreeMap<&'static str, Durations>>,
    pub(super) sent: Counter,
    pub(super) received: Counter,
    pub(super) connections: Counter,
    pub(super) connections_open: Counter,
    pub(super) uploads_open: Counter,
    pub(super) uploads_done: Counter,
    pub(super) limited: Counter,
    pub(super) logins_failed: Counter,
    pub(super) collections: Counter,
    pub(super) collected_objects: Counter,
    pub(super) collected_bytes: Counter,
    pub(super) retired_tags: Counter,
    pub(super) retired_manifests: Counter,
    pub(super) scrubbed_bytes: Counter,
    pub(super) scrubbed_blobs: Counter,
    pub(super) corrupt_blobs: Counter,
    pub(super) upstream_fetches: Counter,
    pub(super) upstream_bytes: Counter,
    pub(super) upstream_failures: Counter,
}

#[derive(Debug, Default, Clone)]
struct Durations {
    classes: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

/// A number that is added to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// Counts a request that was answered to its end.
    pub(super) fn answered(
        &self,
        route: &'static str,
        method: &str,
        status: u16,
        duration: Duration,
    ) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let method = if known.contains(&method) { method } else { "other" };
        let key = (route, method.to_owned(), status);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(key).or_default() += 1;
        drop(requests);
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = durations.entry(route).or_default();
        let seconds = duration.as_secs_f64();
        for (class, bound) in durations.classes.iter_mut().zip(BOUNDS) {
            *class += u64::from(seconds <= bound);
        }
        durations.count += 1;
        durations.seconds += seconds;
    }

    /// All of it. `repositories` is counted by the caller.
    pub(super) fn text(&self, repositories: u64) -> String {
        let mut text = String::new();
        self.write_requests(&mut text);
        let counters = [
            ("sent_bytes_total", "Bytes of bodies sent.", &self.sent),
            ("received_bytes_total", "Bytes of bodies received.", &self.received),
            ("connections_total", "Connections accepted.", &self.connections),
            ("uploads_total", "Uploads that became blobs.", &self.uploads_done),
            ("rate_limited_total", "Requests refused for their rate.", &self.limited),
            ("failed_logins_total", "Wrong passwords and tokens.", &self.logins_failed),
            ("collections_total", "Collections of garbage.", &self.collections),
            (
                "collected_objects_total",
                "Objects that collections removed.",
                &self.collected_objects,
            ),
            ("collected_bytes_total", "Bytes that collections freed.", &self.collected_bytes),
            ("retired_tags_total", "Tags that retention removed.", &self.retired_tags),
            (
                "retired_manifests_total",
                "Manifests that retention removed.",
                &self.retired_manifests,
            ),
            ("scrubbed_bytes_total", "Bytes read again and hashed.", &self.scrubbed_bytes),
            ("scrubbed_blobs_total", "Blobs read again and hashed.", &self.scrubbed_blobs),
            ("corrupt_blobs_total", "Blobs whose bytes were wrong.", &self.corrupt_blobs),
            ("upstream_fetches_total", "Objects fetched from upstream.", &self.upstream_fetches),
            ("upstream_bytes_total", "Bytes fetched from upstream.", &self.upstream_bytes),
            (
                "upstream_failures_total",
                "Fetches from upstream that failed.",
                &self.upstream_failures,
            ),
        ];
        for (name, help, counter) in counters {
            number(&mut text, name, "counter", help, counter.get());
        }
        let gauges = [
            ("connections", "Connections open now.", self.connections_open.get()),
            ("uploads", "Requests that write to an upload now.", self.uploads_open.get()),
            ("repositories", "Repositories that hold something.", repositories),
        ];
        for (name, help, value) in gauges {
            number(&mut text, name, "gauge", help, value);
        }
        text
    }

    fn write_requests(&self, text: &mut String) {
        head(text, "requests_total", "counter", "Requests answered.");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((route, method, status), count) in requests {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            line(text, "requests_total", &labels, count);
        }
        head(text, "request_seconds", "histogram", "Time from request to the end of its answer.");
        let durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (route, durations) in durations {
            for (class, bound) in durations.classes.iter().zip(BOUNDS) {
                let labels = format!("route=\"{route}\",le=\"{bound}\"");
                line(text, "request_seconds_bucket", &labels, class);
            }
            let labels = format!("route=\"{route}\",le=\"+Inf\"");
            line(text, "request_seconds_bucket", &labels, durations.count);
            let labels = format!("route=\"{route}\"");
            line(text, "request_seconds_sum", &labels, durations.seconds);
            line(text, "request_seconds_count", &labels, durations.count);
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let name = format!("hull_registry_{name}");
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes all");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    writeln!(text, "hull_registry_{name}{{{labels}}} {value}").expect("a string takes all");
}

fn number(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(text, name, kind, help);
    writeln!(text, "hull_registry_{name} {value}").expect("a string takes all");
}
