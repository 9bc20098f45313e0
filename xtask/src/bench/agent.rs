//! Runs commands and times them, here or in the peers' root.
//!
//! The agent is this program itself, started once per root, so that entering a root costs no
//! measured time. It reads JSON lines from stdin and answers with JSON lines.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// A started agent.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What our `/tmp` is called where the agent runs.
    pub(crate) tmp: String,
}

impl Agent {
    /// An agent on this machine itself.
    pub(crate) fn here() -> Result<Self> {
        let program = std::env::current_exe()?;
        Self::start(Command::new(program).args(["bench", "agent"]), "/tmp")
    }

    /// An agent started by `prefix` in a root where our `/tmp` is `/host`.
    pub(crate) fn through(prefix: &str, scratch: &Path) -> Result<Self> {
        let copy = scratch.join("agent");
        std::fs::copy(std::env::current_exe()?, &copy)?;
        let inside = copy.strip_prefix("/tmp").context("the scratch folder is not below /tmp")?;
        let words = format!("exec {prefix} /host/{} bench agent", inside.display());
        Self::start(Command::new("sh").args(["-c", &words]), "/host")
    }

    fn start(command: &mut Command, tmp: &str) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take().context("an agent has no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("an agent has no stdout")?);
        Ok(Self { child, requests, answers, tmp: tmp.to_owned() })
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).context("an agent stopped answering")?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => bail!("{error}"),
            None => Ok(answer),
        }
    }

    /// Wall time of `count` copies of a command started together until all have ended.
    /// `{n}` in its words becomes a number that no other copy has.
    pub(crate) fn time(
        &mut self,
        words: &[String],
        round: usize,
        count: usize,
    ) -> Result<Duration> {
        let answer = self.ask(&json!({ "time": words, "round": round, "count": count }))?;
        let nanoseconds = answer["nanoseconds"].as_u64().context("no time in an answer")?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Runs a command; its stdout.
    pub(crate) fn output(&mut self, words: &[&str]) -> Result<String> {
        let answer = self.ask(&json!({ "output": words }))?;
        Ok(answer["output"].as_str().unwrap_or_default().to_owned())
    }

    /// As [`Self::output`].
    pub(crate) fn run(&mut self, words: &[String]) -> Result<String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.output(&words)
    }

    /// Starts a program that runs until the agent ends.
    pub(crate) fn background(&mut self, words: &[&str]) -> Result<()> {
        self.ask(&json!({ "background": words })).map(|_| ())
    }

    /// Whether `program` is in the agent's PATH.
    pub(crate) fn has(&mut self, program: &str) -> bool {
        self.output(&["sh", "-c", &format!("command -v {program}")])
            .is_ok_and(|text| !text.trim().is_empty())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // An agent that is told to end stops what it started in the background first.
        let _ = writeln!(self.requests, "{}", json!({ "end": true }));
        let _ = self.child.wait();
    }
}

/// The agent's side.
pub(crate) fn serve() -> Result<()> {
    let mut background: Vec<Child> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        if request.get("end").is_some() {
            break;
        }
        let answer = serve_one(&request, &mut background)
            .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        println!("{answer}");
    }
    for child in &mut background {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        child.wait()?;
    }
    Ok(())
}

fn serve_one(request: &Value, background: &mut Vec<Child>) -> Result<Value> {
    if let Some(words) = request.get("time") {
        let round = request["round"].as_u64().unwrap_or(0);
        let count = request["count"].as_u64().unwrap_or(1);
        return timed(&texts(words), round, count);
    }
    if let Some(words) = request.get("output") {
        let words = texts(words);
        let output = command(&words)?.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}: {}", words.join(" "), output.status, error.trim());
        }
        return Ok(json!({ "output": String::from_utf8_lossy(&output.stdout) }));
    }
    if let Some(words) = request.get("background") {
        background.push(command(&texts(words))?.spawn()?);
        return Ok(json!({}));
    }
    bail!("unknown request {request}")
}

fn timed(words: &[String], round: u64, count: u64) -> Result<Value> {
    let mut commands = (0..count)
        .map(|copy| {
            let number = format!("{}-{round}-{copy}", std::process::id());
            let words: Vec<String> =
                words.iter().map(|word| word.replace("{n}", &number)).collect();
            let mut command = command(&words)?;
            command.stderr(Stdio::piped());
            Ok(command)
        })
        .collect::<Result<Vec<Command>>>()?;
    let begin = Instant::now();
    let children = commands
        .iter_mut()
        .map(|command| command.spawn().map_err(anyhow::Error::from))
        .collect::<Result<Vec<Child>>>()?;
    let mut failed = None;
    for child in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            failed = Some(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
    }
    let took = begin.elapsed();
    match failed {
        Some(error) => bail!("{}: {error}", words.join(" ")),
        None => Ok(json!({ "nanoseconds": u64::try_from(took.as_nanos())? })),
    }
}

fn command(words: &[String]) -> Result<Command> {
    let (program, rest) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

fn texts(words: &Value) -> Vec<String> {
    let words = words.as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}
