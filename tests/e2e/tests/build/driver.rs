//! One Hull with a daemon that builds.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use hull_test_support::Hull;
use hull_test_support::base64::decoded;
use hull_test_support::daemon::Daemon;
use serde_json::{Value, json};

/// A Hull with a busybox image, and a daemon of it.
pub(crate) struct Builds {
    pub(crate) daemon: Daemon,
    pub(crate) hull: Hull,
}

/// What a build answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The result, or the failure.
    pub(crate) ended: Result<Value, Value>,
    /// Steps with whether they were cached, in the order in which they ended.
    pub(crate) steps: Vec<(String, bool)>,
    /// All output.
    pub(crate) output: String,
    /// Warnings.
    pub(crate) warnings: Vec<String>,
}

/// A build context under construction: path and content. `-> x` is a symlink, a trailing slash a
/// directory.
pub(crate) type Files<'a> = &'a [(&'a str, &'a str)];

impl Builds {
    pub(crate) fn new() -> Option<Self> {
        let hull = Hull::with_busybox()?;
        let daemon = Daemon::start(&hull);
        Some(Self { daemon, hull })
    }

    /// Writes a context anew.
    pub(crate) fn context(&self, name: &str, files: Files<'_>) -> PathBuf {
        let root = self.hull.folder().join(name);
        let _fresh = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                _ if path.to_str().unwrap().ends_with('/') => fs::create_dir_all(&path).unwrap(),
                Some(target) => symlink(target, path).unwrap(),
                None => {
                    fs::write(&path, content).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
                }
            }
        }
        root
    }

    /// Builds the context called `name` with more fields in the request.
    #[expect(clippy::needless_pass_by_value, reason = "callers write it where they call")]
    pub(crate) fn ask(&self, name: &str, more: Value) -> Answer {
        let path = self.hull.folder().join(name);
        let mut request = json!({"context": {"directory": {"path": path}}, "tags": [name]});
        for (field, value) in more.as_object().unwrap() {
            request[field] = value.clone();
        }
        let (status, text) = self.daemon.ask("POST /hull/build", &request.to_string());
        assert_eq!(status, 200, "{text}");
        Answer::read(&text)
    }

    /// Writes a context and builds it; it must succeed.
    #[track_caller]
    pub(crate) fn build(&self, name: &str, files: Files<'_>) -> Answer {
        self.context(name, files);
        self.again(name)
    }

    /// Builds a context that is there; it must succeed.
    #[track_caller]
    pub(crate) fn again(&self, name: &str) -> Answer {
        let answer = self.ask(name, json!({}));
        assert!(answer.ended.is_ok(), "{answer:#?}");
        answer
    }

    /// Builds with more fields; it must succeed.
    #[expect(clippy::needless_pass_by_value, reason = "callers write it where they call")]
    #[track_caller]
    pub(crate) fn with(&self, name: &str, more: Value) -> Answer {
        let answer = self.ask(name, more.clone());
        assert!(answer.ended.is_ok(), "{answer:#?}");
        answer
    }

    /// Writes a context and builds it; it must fail with this in its message.
    #[track_caller]
    pub(crate) fn fails(&self, name: &str, files: Files<'_>, message: &str) -> Value {
        self.context(name, files);
        let answer = self.ask(name, json!({}));
        let failure = answer.ended.expect_err("it was built");
        let said = failure["message"].as_str().unwrap();
        assert!(said.contains(message), "{failure:#}");
        assert!(!said.contains('\n'), "{said}");
        failure
    }

    /// Runs a shell command in an image; its output.
    #[track_caller]
    pub(crate) fn sh(&self, image: &str, command: &str) -> String {
        let output = self.hull.run(&["run", "--rm", image, "sh", "-c", command]);
        assert_eq!(output.code, 0, "{command}: {output:?}");
        output.stdout
    }

    /// A part of an image's config as JSON, `null` where there is none.
    #[track_caller]
    pub(crate) fn config(&self, image: &str, field: &str) -> String {
        let text = self.hull.ok(&["image", "inspect", "--format", "{{json .Config}}", image]);
        let config: Value = serde_json::from_str(text.trim()).unwrap();
        config[field].to_string()
    }

    /// Ends it; nothing may be left.
    pub(crate) fn finish(self) {
        let Self { daemon, hull } = self;
        assert_eq!(daemon.stop(), Some(0));
        let checked = hull.ok(&["system", "check"]);
        assert!(checked.contains("no problems"), "{checked}");
        hull.finish();
    }
}

impl Answer {
    fn read(text: &str) -> Self {
        let mut answer = Self {
            ended: Err(Value::Null),
            steps: Vec::new(),
            output: String::new(),
            warnings: Vec::new(),
        };
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let message: Value = serde_json::from_str(line).unwrap();
            if let Some(result) = message.get("result") {
                answer.ended = Ok(result.clone());
            } else if let Some(failure) = message.get("error") {
                answer.ended = Err(failure.clone());
            } else {
                answer.status(&message["status"]);
            }
        }
        answer
    }

    fn status(&mut self, status: &Value) {
        let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
        for vertex in list("vertexes") {
            if vertex["completed"].is_string() {
                let name = vertex["name"].as_str().unwrap().to_owned();
                self.steps.push((name, vertex["cached"] == true));
            }
        }
        for log in list("logs") {
            self.output.push_str(&decoded(log["data"].as_str().unwrap()));
        }
        for warning in list("warnings") {
            self.warnings.push(decoded(warning["short"].as_str().unwrap()));
        }
    }

    /// The image's ID.
    pub(crate) fn id(&self) -> &str {
        self.ended.as_ref().unwrap()["image_id"].as_str().unwrap()
    }

    /// Whether the step whose name contains this was in the cache.
    #[track_caller]
    pub(crate) fn cached(&self, step: &str) -> bool {
        let found = self.steps.iter().find(|(name, _)| name.contains(step));
        found.unwrap_or_else(|| panic!("no step {step:?} in {:#?}", self.steps)).1
    }

    /// Why the step whose name contains this ran.
    pub(crate) fn reason(&self, step: &str) -> Option<String> {
        let all = self.ended.as_ref().unwrap()["explanations"].as_array()?;
        let found = all.iter().find(|one| one["step"].as_str().unwrap().contains(step))?;
        Some(found["reason"].as_str().unwrap().to_owned())
    }
}
