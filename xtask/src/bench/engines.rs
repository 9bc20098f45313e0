//! The engines that are compared, and the same small image for each of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Agent;
use super::scratch::Scratch;

/// One engine: the commands that are measured, and the agent that runs them.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) agent: usize,
    /// What stands before every command of an engine that has images.
    pub(crate) globals: Option<Vec<String>>,
    /// `run --rm` of a static program that does nothing.
    pub(crate) run: Option<Vec<String>>,
    /// `exec` of the same in a container that is running.
    pub(crate) exec: Option<Vec<String>>,
    /// Starts one more idle container.
    pub(crate) idle: Option<Vec<String>>,
    /// Lists the containers that run.
    pub(crate) list: Option<Vec<String>>,
    /// Creates a container, and starts it later.
    pub(crate) prepared: Option<Prepared>,
    /// Commands that undo what setting up started.
    undo: Vec<Vec<String>>,
}

impl Engine {
    /// A command of an engine that has images.
    pub(crate) fn command(&self, rest: &[&str]) -> Vec<String> {
        let rest = rest.iter().map(|word| (*word).to_owned());
        self.globals.iter().flatten().cloned().chain(rest).collect()
    }
}

/// Commands about a container that is called `{name}`.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) create: Vec<String>,
    pub(crate) start: Vec<String>,
    pub(crate) remove: Vec<String>,
}

impl Prepared {
    fn new(command: impl Fn(&[&str]) -> Vec<String>) -> Self {
        let create = ["create", "--network", "none", "--name", "{name}", "bench"];
        Self {
            create: command(&[&create[..], &SLEEP].concat()),
            start: command(&["start", "{name}"]),
            remove: command(&["rm", "-f", "{name}"]),
        }
    }
}

/// Everything set up.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) agents: Vec<Agent>,
    pub(crate) engines: Vec<Engine>,
    scratch: Scratch,
}

const SLEEP: [&str; 2] = ["/probe", "sleep"];

impl Bench {
    /// Makes the image, and sets every engine up that is present.
    pub(crate) fn set_up(programs: &Path) -> Result<Self> {
        let scratch = Scratch::make()?;
        let root = scratch.path().join("root");
        image_root(&root, &programs.join("hull-probe"))?;
        let mut here = Agent::here()?;
        let tar = scratch.path().join("root.tar");
        let (root_text, tar_text) = (text(&root)?, text(&tar)?);
        here.output(&["tar", "--owner=0", "--group=0", "-C", root_text, "-cf", tar_text, "."])?;
        let mut bench = Self { agents: vec![here], engines: Vec::new(), scratch };
        bench.hull(programs, tar_text)?;
        if let Ok(prefix) = std::env::var("HULL_PEERS") {
            bench.agents.push(Agent::through(&prefix, bench.scratch.path())?);
        }
        let peers = bench.agents.len() - 1;
        for (name, add) in [
            ("crun", Self::bundle_runtime as fn(&mut Self, usize, &str) -> Result<()>),
            ("runc", Self::bundle_runtime),
            ("podman", Self::podman),
            ("dockerd", Self::docker),
        ] {
            if !bench.agents[peers].has(name) {
                println!("{name}: not present, left out");
            } else if let Err(error) = add(&mut bench, peers, name) {
                println!("{name}: left out: {error:#}");
            }
        }
        Ok(bench)
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.engines.iter().map(|engine| engine.name.as_str()).collect()
    }

    /// Leaves out the engines that `wanted` says no to.
    pub(crate) fn keep(&mut self, wanted: impl Fn(&Engine) -> bool) {
        self.engines.retain(wanted);
    }

    pub(crate) fn index(&self, name: &str) -> Result<usize> {
        let found = self.engines.iter().position(|engine| engine.name == name);
        found.with_context(|| format!("{name} is not among the engines"))
    }

    /// Runs a command where an engine is; its stdout.
    pub(crate) fn run(&mut self, engine: usize, words: &[String]) -> Result<String> {
        self.agents[self.engines[engine].agent].run(words)
    }

    /// Wall time of a command where an engine is.
    pub(crate) fn time(
        &mut self,
        engine: usize,
        words: &[String],
        round: usize,
    ) -> Result<Duration> {
        self.agents[self.engines[engine].agent].time(words, round, 1)
    }

    /// A new folder on the scratch file system.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scratch.path().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A path in the scratch folder, as `agent` sees it.
    pub(crate) fn inside(&self, agent: usize, path: &str) -> Result<String> {
        let below = self.scratch.path().strip_prefix("/tmp").context("scratch is not in /tmp")?;
        Ok(format!("{}/{}/{path}", self.agents[agent].tmp, below.display()))
    }

    fn hull(&mut self, programs: &Path, tar: &str) -> Result<()> {
        let program = text(&programs.join("hull"))?.to_owned();
        let data = self.inside(0, "hull-data")?;
        let state = self.inside(0, "hull-run")?;
        let command = |rest: &[&str]| {
            words(&[&[&program, "--data-root", &data, "--exec-root", &state], rest].concat())
        };
        let run = |rest: &[&str]| command(&[&["run", "--network", "none"], rest].concat());
        self.agents[0].output(&slices(&command(&["import", tar, "bench"])))?;
        self.agents[0]
            .output(&slices(&run(&["-d", "--name", "idle", "bench", SLEEP[0], SLEEP[1]])))?;
        self.engines.push(Engine {
            name: "hull".to_owned(),
            agent: 0,
            globals: Some(command(&[])),
            run: Some(run(&["--rm", "bench", "/probe", "true"])),
            exec: Some(command(&["exec", "idle", "/probe", "true"])),
            idle: Some(run(&["-d", "--rm", "bench", SLEEP[0], SLEEP[1]])),
            list: Some(command(&["ps"])),
            prepared: Some(Prepared::new(command)),
            undo: vec![
                words(&["sh", "-c", &format!("{program} --data-root {data} --exec-root {state} rm -f $({program} --data-root {data} --exec-root {state} ps -aq)")]),
                command(&["system", "prune", "--all", "--force"]),
                words(&["umount", "-l", &format!("{state}/layers")]),
            ],
        });
        Ok(())
    }

    /// crun and runc, on a prepared bundle: as `spec` writes it, and once with the namespaces
    /// and the filter that Hull gives a container.
    fn bundle_runtime(&mut self, agent: usize, program: &str) -> Result<()> {
        let root = self.inside(agent, "root")?;
        for like_hull in [false, true] {
            let name = if like_hull { format!("{program} like hull") } else { program.to_owned() };
            let folder = format!("{program}-{}", if like_hull { "like" } else { "plain" });
            let outside = self.scratch.path().join(&folder);
            fs::create_dir_all(&outside)?;
            let bundle = self.inside(agent, &folder)?;
            self.agents[agent].output(&["sh", "-c", &format!("cd {bundle} && {program} spec")])?;
            let config = outside.join("config.json");
            let mut spec: Value = serde_json::from_slice(&fs::read(&config)?)?;
            spec["process"]["terminal"] = json!(false);
            spec["process"]["args"] = json!(["/probe", "true"]);
            spec["root"] = json!({ "path": root, "readonly": true });
            if like_hull {
                let profile =
                    self.agents[agent].output(&["cat", "/usr/share/containers/seccomp.json"])?;
                like_hull_spec(&mut spec, &profile)?;
            }
            fs::write(&config, serde_json::to_vec(&spec)?)?;
            let state = self.inside(agent, &format!("{folder}-state"))?;
            let run = words(&[program, "--root", &state, "run", "--bundle", &bundle, "bench-{n}"]);
            // Shown to work before it is measured.
            self.agents[agent].time(&run, usize::MAX >> 1, 1).with_context(|| name.clone())?;
            self.engines.push(Engine {
                name,
                agent,
                globals: None,
                run: Some(run),
                exec: None,
                idle: None,
                list: None,
                prepared: None,
                undo: Vec::new(),
            });
        }
        Ok(())
    }

    fn podman(&mut self, agent: usize, program: &str) -> Result<()> {
        let (root, state) = (self.inside(agent, "podman")?, self.inside(agent, "podman-run")?);
        let globals = [
            program,
            "--root",
            &root,
            "--runroot",
            &state,
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
        ];
        self.image_engine(agent, "podman", &globals)
    }

    fn docker(&mut self, agent: usize, program: &str) -> Result<()> {
        let socket = format!("unix://{}", self.inside(agent, "docker.sock")?);
        let (data, state) = (self.inside(agent, "docker")?, self.inside(agent, "docker-run")?);
        let pid_file = self.inside(agent, "docker.pid")?;
        self.agents[agent].background(&[
            program,
            "--host",
            &socket,
            "--data-root",
            &data,
            "--exec-root",
            &state,
            "--pidfile",
            &pid_file,
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
        ])?;
        let wait = format!(
            "for i in $(seq 300); do docker --host {socket} version >/dev/null 2>&1 && exit; sleep 0.1; done; exit 1"
        );
        self.agents[agent].output(&["sh", "-c", &wait]).context("dockerd does not answer")?;
        self.image_engine(agent, "docker", &["docker", "--host", &socket])
    }

    /// An engine with Docker's command line.
    fn image_engine(&mut self, agent: usize, name: &str, globals: &[&str]) -> Result<()> {
        let tar = self.inside(agent, "root.tar")?;
        let command = |rest: &[&str]| words(&[globals, rest].concat());
        let run = |rest: &[&str]| command(&[&["run", "--network", "none"], rest].concat());
        self.agents[agent].output(&slices(&command(&["import", &tar, "bench"])))?;
        self.agents[agent]
            .output(&slices(&run(&["-d", "--name", "idle", "bench", SLEEP[0], SLEEP[1]])))?;
        self.engines.push(Engine {
            name: name.to_owned(),
            agent,
            globals: Some(words(globals)),
            run: Some(run(&["--rm", "bench", "/probe", "true"])),
            exec: Some(command(&["exec", "idle", "/probe", "true"])),
            idle: Some(run(&["-d", "bench", SLEEP[0], SLEEP[1]])),
            list: Some(command(&["ps"])),
            prepared: Some(Prepared::new(command)),
            undo: vec![words(&[
                "sh",
                "-c",
                &format!("{0} rm -f $({0} ps -aq)", globals.join(" ")),
            ])],
        });
        Ok(())
    }

    /// System calls of one run with everything it starts.
    pub(crate) fn system_calls(&mut self) -> Result<()> {
        println!("\nsystem calls of one run --rm, all processes");
        for index in 0..self.engines.len() {
            let (name, agent) = (self.engines[index].name.clone(), self.engines[index].agent);
            // A daemon's calls would not be seen.
            let Some(run) = self.engines[index].run.clone().filter(|_| name != "docker") else {
                continue;
            };
            if !self.agents[agent].has("strace") {
                println!("{name:<18} strace is not present");
                continue;
            }
            let log = self.inside(agent, &format!("strace-{index}"))?;
            let run: Vec<String> = run.iter().map(|word| word.replace("{n}", "strace")).collect();
            let traced = [&words(&["strace", "-f", "-o", &log])[..], &run[..]].concat();
            self.agents[agent].output(&slices(&traced))?;
            let lines = fs::read_to_string(self.scratch.path().join(format!("strace-{index}")))?;
            let calls = lines
                .lines()
                .filter(|line| {
                    !line.contains("resumed>") && !line.contains("+++") && !line.contains("---")
                })
                .count();
            let clones = lines.lines().filter(|line| line.contains("execve(")).count();
            println!("{name:<18} {calls:>6} ({clones} execve)");
        }
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for engine in &self.engines {
            for words in &engine.undo {
                if let Err(error) = self.agents[engine.agent].output(&slices(words)) {
                    eprintln!("{}: cleaning up: {error:#}", engine.name);
                }
            }
        }
    }
}

/// What an ordinary image's root file system has, and the probe as its only program.
fn image_root(root: &Path, probe: &Path) -> Result<()> {
    for folder in ["dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    for file in ["hostname", "hosts", "resolv.conf"] {
        fs::write(root.join("etc").join(file), "")?;
    }
    fs::copy(probe, root.join("probe"))?;
    Ok(())
}

/// The namespaces Hull makes, a range of ids, and the profile, in a bundle's spec.
fn like_hull_spec(spec: &mut Value, profile: &str) -> Result<()> {
    let kinds = ["pid", "mount", "uts", "ipc", "network", "cgroup", "user"];
    let map = json!([{ "containerID": 0, "hostID": 1_900_000_000u32, "size": 65536 }]);
    spec["linux"]["namespaces"] = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    spec["linux"]["uidMappings"] = map.clone();
    spec["linux"]["gidMappings"] = map;
    spec["linux"]["seccomp"] = flatten(&serde_json::from_str(profile)?)?;
    Ok(())
}

/// A profile with conditions on capabilities as the runtime-spec wants it: without them, for a
/// container with the default capabilities on x86-64.
fn flatten(profile: &Value) -> Result<Value> {
    let groups = profile["syscalls"].as_array().context("the profile has no system calls")?;
    let none = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    let mut rules = Vec::new();
    for group in groups {
        let (with, without) = (&group["includes"], &group["excludes"]);
        let arches = with["arches"].as_array();
        let here = arches.is_none_or(|names| names.iter().any(|name| name == "amd64"));
        if !none(&with["caps"]) || !here || !none(&without["arches"]) {
            continue;
        }
        let mut rule = json!({ "names": group["names"], "action": group["action"] });
        for key in ["args", "errnoRet"] {
            if let Some(value) = group.get(key).filter(|value| !value.is_null()) {
                rule[key] = value.clone();
            }
        }
        rules.push(rule);
    }
    let mut flat = json!({
        "defaultAction": profile["defaultAction"],
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules,
    });
    if let Some(errno) = profile.get("defaultErrnoRet") {
        flat["defaultErrnoRet"] = errno.clone();
    }
    Ok(flat)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn slices(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}
