//! The engine itself: version, information, disk usage, checks.

use crate::error::ApiError;
use crate::http::{Body, Query, Response, json, typed};
use crate::service::{Engine, Service};
use crate::{containers, images, volumes};
use hull_api::{
    API_VERSION, ComponentVersion, DiskUsage, MIN_API_VERSION, PlatformName, PluginsInfo,
    RuntimeInfo, StoreCheckResponse, StoreCollectResponse, StoreProblem, SwarmInfo, SystemInfo,
    SystemVersion, UsageClass,
};
use hull_oci::Platform;
use hull_store::{CheckOptions, Usage};
use hyper::header::{CACHE_CONTROL, HeaderValue};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET /_ping`.
pub(crate) fn ping() -> Response {
    let mut response = typed("text/plain; charset=utf-8", Body::Whole(Some("OK".into())));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    response
}

/// `GET /version`.
pub(crate) fn version() -> Result<Response, ApiError> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let arch = Platform::host().architecture;
    let details = [
        ("ApiVersion", API_VERSION),
        ("Arch", &arch),
        ("KernelVersion", &kernel),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Os", "linux"),
    ];
    let engine = ComponentVersion {
        name: "Engine".to_owned(),
        version: VERSION.to_owned(),
        details: details.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    json(&SystemVersion {
        platform: PlatformName { name: "Hull".to_owned() },
        components: vec![engine],
        version: VERSION.to_owned(),
        api_version: API_VERSION.to_owned(),
        min_api_version: MIN_API_VERSION.to_owned(),
        os: "linux".to_owned(),
        arch,
        kernel_version: kernel,
        ..Default::default()
    })
}

/// `GET /info`.
pub(crate) async fn info(service: &Service) -> Result<Response, ApiError> {
    json(&service.run(|engine| collect_info(engine)).await?)
}

fn collect_info(engine: &Engine) -> Result<SystemInfo, ApiError> {
    let store = engine.store()?;
    containers::sweep(engine)?;
    let records = store.containers()?;
    let running = records.iter().filter(|record| containers::is_running(engine, record)).count();
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let probe = store.layer_mode()?;
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let controllers = Controllers::of_host();
    let release = os_release();
    let named = |name: &str| release_value(&release, name);
    let mut driver_status = vec![["Layers kept as".to_owned(), probe.mode.as_str().to_owned()]];
    if let Some(reason) = &probe.reason {
        driver_status.push(["Reason".to_owned(), reason.clone()]);
    }
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    Ok(SystemInfo {
        id: store.data_root().display().to_string(),
        containers: count(records.len()),
        containers_running: count(running),
        containers_stopped: count(records.len() - running),
        images: count(images::summaries(store)?.len()),
        driver: probe.mode.as_str().to_owned(),
        driver_status,
        docker_root_dir: store.data_root().display().to_string(),
        plugins: PluginsInfo {
            volume: words(&["local"]),
            network: words(&["host", "none"]),
            log: words(&["json-file"]),
        },
        memory_limit: controllers.has("memory"),
        swap_limit: controllers.has("memory"),
        cpu_cfs_period: controllers.has("cpu"),
        cpu_cfs_quota: controllers.has("cpu"),
        cpu_shares: controllers.has("cpu"),
        cpu_set: controllers.has("cpuset"),
        pids_limit: controllers.has("pids"),
        ipv4_forwarding: read("/proc/sys/net/ipv4/ip_forward").trim() == "1",
        system_time: hull_shim::state::now(),
        logging_driver: "json-file".to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: controllers.version().to_owned(),
        kernel_version: text(uname.release()),
        operating_system: named("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
        os_version: named("VERSION_ID").unwrap_or_default(),
        os_type: "linux".to_owned(),
        architecture: text(uname.machine()),
        ncpu: count(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
        mem_total: memory_total(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        name: text(uname.nodename()),
        server_version: VERSION.to_owned(),
        runtimes: [("hull".to_owned(), RuntimeInfo { path: "hull-shim".to_owned() })].into(),
        default_runtime: "hull".to_owned(),
        swarm: SwarmInfo { local_node_state: "inactive".to_owned() },
        live_restore_enabled: true,
        init_binary: "hull-shim".to_owned(),
        security_options: words(&[
            "name=seccomp,profile=builtin",
            "name=userns",
            "name=cgroupns",
            "name=no-new-privileges",
        ]),
        warnings: controllers.warnings(),
        ..Default::default()
    })
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn os_release() -> String {
    let text = read("/etc/os-release");
    if text.is_empty() { read("/usr/lib/os-release") } else { text }
}

fn release_value(release: &str, name: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

/// Bytes.
fn memory_total() -> i64 {
    let kib = read("/proc/meminfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok()
        })
        .unwrap_or(0_i64);
    kib.saturating_mul(1024)
}

/// The host's cgroup controllers and which hierarchy owns each.
struct Controllers {
    /// Name, and whether a v1 hierarchy owns it.
    owned: Vec<(String, bool)>,
}

impl Controllers {
    fn of_host() -> Self {
        Self::parse(&read("/proc/cgroups"))
    }

    /// Reads `/proc/cgroups`: name, hierarchy (0 for v2), groups, enabled.
    fn parse(text: &str) -> Self {
        let owned = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (name, hierarchy) = (fields.next()?, fields.next()?);
            (fields.nth(1)? == "1").then(|| (name.to_owned(), hierarchy != "0"))
        });
        Self { owned: owned.collect() }
    }

    fn has(&self, name: &str) -> bool {
        self.owned.iter().any(|(own, _)| own == name)
    }

    fn version(&self) -> &'static str {
        let v1 = self.owned.iter().any(|(name, v1)| *v1 && (name == "memory" || name == "pids"));
        if v1 { "1" } else { "2" }
    }

    fn warnings(&self) -> Vec<String> {
        let missing = [("memory", "memory limit"), ("cpu", "CPU limit"), ("pids", "pids limit")];
        let missing = missing.iter().filter(|(name, _)| !self.has(name));
        missing.map(|(_, what)| format!("WARNING: No {what} support")).collect()
    }
}

/// `GET /system/df`.
pub(crate) async fn disk_usage(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let kinds: Vec<String> = query.all("type").map(str::to_owned).collect();
    const KINDS: &[&str] = &["container", "image", "volume", "build-cache"];
    if let Some(kind) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(ApiError::invalid(format!("unknown object type: {kind}")));
    }
    let usage = service
        .run_long(move |engine| {
            let wants = |kind: &str| kinds.is_empty() || kinds.iter().any(|wanted| wanted == kind);
            let store = engine.store()?;
            let usage = store.usage()?;
            let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            Ok(DiskUsage {
                layers_size: signed(usage.layers.values().sum()),
                images: if wants("image") { images::summaries(store)? } else { Vec::new() },
                containers: if wants("container") {
                    containers::all_with_size(engine)?
                } else {
                    Vec::new()
                },
                volumes: if wants("volume") {
                    volumes::all_with_usage(engine, &usage)?
                } else {
                    Vec::new()
                },
                build_cache: if wants("build-cache") {
                    crate::build::build_cache(store, &usage)?
                } else {
                    Vec::new()
                },
                classes: classes(&usage),
            })
        })
        .await?;
    json(&usage)
}

fn classes(usage: &Usage) -> Vec<UsageClass> {
    let class = |name: &str, count: usize, size| UsageClass {
        name: name.to_owned(),
        count: count as u64,
        size,
    };
    vec![
        class("images", usage.layers.len(), usage.images),
        class("compressed copies", 0, usage.compressed),
        class("containers", usage.writable.len(), usage.containers),
        class("logs", 0, usage.logs),
        class("volumes", usage.volume.len(), usage.volumes),
        class("build cache", 0, usage.build_cache),
        class("unfinished writes", 0, usage.ingest),
        class("trash", 0, usage.trash),
        class("other", 0, usage.other),
    ]
}

/// `POST /hull/check`.
pub(crate) async fn check(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let options = CheckOptions { deep: query.flag("deep"), repair: query.flag("repair") };
    let report = service
        .run_long(move |engine| {
            containers::sweep(engine)?;
            Ok(engine.store()?.check(options)?)
        })
        .await?;
    let shown = |problem: hull_store::Problem| StoreProblem {
        object: problem.object,
        problem: problem.message,
        repaired: problem.repaired.is_some(),
        repair: problem.repaired.unwrap_or_default(),
    };
    json(&StoreCheckResponse {
        checked: report.checked,
        problems: report.problems.into_iter().map(shown).collect(),
        garbage: report.garbage,
        mounts: report.mounts.iter().map(ToString::to_string).collect(),
    })
}

/// `POST /hull/collect`.
pub(crate) async fn collect(service: &Service) -> Result<Response, ApiError> {
    let collected = service
        .run_long(|engine| {
            containers::sweep(engine)?;
            Ok(engine.store()?.collect_all()?)
        })
        .await?;
    let layers = collected.layers.iter().map(|layer| format!("layer {layer}"));
    let blobs = collected.blobs.iter().map(|blob| format!("blob {blob}"));
    json(&StoreCollectResponse {
        deleted: layers.chain(blobs).collect(),
        leftovers: collected.ingests
            + collected.leases
            + collected.names
            + collected.knowledge
            + collected.trash,
        space_reclaimed: collected.bytes,
        blocked: collected.blocked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                    cpu\t0\t5\t1\nmemory\t3\t5\t1\npids\t0\t5\t0\n";
        let controllers = Controllers::parse(text);
        assert!(controllers.has("cpu") && controllers.has("memory") && !controllers.has("pids"));
        assert_eq!(controllers.version(), "1");
        assert_eq!(controllers.warnings(), ["WARNING: No pids limit support"]);
    }

    #[test]
    fn releases() {
        let text = "NAME=x\nPRETTY_NAME=\"Some Linux 1\"\n";
        assert_eq!(release_value(text, "PRETTY_NAME").unwrap(), "Some Linux 1");
        assert_eq!(release_value(text, "VERSION_ID"), None);
    }
}
