//! Credential helpers: programs that keep credentials in a keychain.
//!
//! `docker-credential-NAME get|store|erase`, a request on stdin, an answer on stdout, one of a few
//! known sentences with exit code 1. Found through `PATH`, as the user's own file names them. What
//! a helper says is bounded in size and time; its secrets are in no error.

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hull_api::registry::{AuthConfig, Secret};
use serde::{Deserialize, Serialize};

use super::key::RegistryKey;

/// The most that is read of an answer, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// A helper may ask its user to unlock something.
const PATIENCE: Duration = Duration::from_secs(60);

/// In place of a user's name: the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// A helper's way to say that it does not know a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    #[error("the credential helper {program} is not there: no such program in PATH")]
    Missing { program: String },
    #[error("cannot start the credential helper {program}")]
    Start { program: String, source: std::io::Error },
    #[error("the credential helper {program} has not answered within {} seconds", PATIENCE.as_secs())]
    Slow { program: String },
    #[error("the credential helper {program} answers more than {} KiB", MAX_ANSWER >> 10)]
    Long { program: String },
    #[error("the credential helper {program} failed ({status}): {said}")]
    Failed { program: String, status: ExitStatus, said: String },
    #[error("the credential helper {program} answers something else than credentials")]
    Shape { program: String },
    #[error("the credential helper {program} answers with credentials of {other:?}")]
    OtherRegistry { program: String, other: String },
}

/// What goes to `store`, and what `get` answers.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Message {
    #[serde(rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: Secret,
}

/// One helper.
#[derive(Debug)]
pub(super) struct Helper {
    program: String,
    patience: Duration,
}

impl Helper {
    /// The helper of this name, which a file has.
    pub(super) fn new(name: &str) -> Self {
        Self { program: format!("docker-credential-{name}"), patience: PATIENCE }
    }

    /// The credentials of a registry, where it has them.
    ///
    /// # Errors
    /// A helper that fails, is slow, or answers something else.
    pub(super) fn get(&self, registry: &RegistryKey) -> Result<Option<AuthConfig>, HelperError> {
        let answer = self.ask("get", registry.server_address())?;
        if !answer.status.success() {
            return if answer.says(NOT_FOUND) { Ok(None) } else { Err(self.failed(&answer)) };
        }
        let message = serde_json::from_slice(&answer.stdout).map_err(|_| self.shape())?;
        self.credentials(registry, message)
    }

    fn credentials(
        &self,
        registry: &RegistryKey,
        message: Message,
    ) -> Result<Option<AuthConfig>, HelperError> {
        let Message { server_url, username, secret } = message;
        if !server_url.is_empty() && RegistryKey::parse(&server_url).as_ref() != Some(registry) {
            let program = self.program.clone();
            return Err(HelperError::OtherRegistry { program, other: server_url });
        }
        let serveraddress = registry.server_address().to_owned();
        let auth = if username == TOKEN_USER {
            AuthConfig { identitytoken: secret, serveraddress, ..AuthConfig::default() }
        } else {
            AuthConfig { username, password: secret, serveraddress, ..AuthConfig::default() }
        };
        Ok((!auth.is_anonymous()).then_some(auth))
    }

    /// Keeps credentials.
    ///
    /// # Errors
    /// A helper that fails or is slow.
    pub(super) fn store(
        &self,
        registry: &RegistryKey,
        auth: &AuthConfig,
    ) -> Result<(), HelperError> {
        let (username, secret) = if auth.identitytoken.is_empty() {
            (auth.username.clone(), auth.password.clone())
        } else {
            (TOKEN_USER.to_owned(), auth.identitytoken.clone())
        };
        let server_url = registry.server_address().to_owned();
        let message = serde_json::to_string(&Message { server_url, username, secret });
        self.done(&self.ask("store", &message.map_err(|_| self.shape())?)?)
    }

    /// Forgets the credentials of a registry; that it has none is fine.
    ///
    /// # Errors
    /// A helper that fails or is slow.
    pub(super) fn erase(&self, registry: &RegistryKey) -> Result<(), HelperError> {
        let answer = self.ask("erase", registry.server_address())?;
        if answer.says(NOT_FOUND) { Ok(()) } else { self.done(&answer) }
    }

    fn done(&self, answer: &Answer) -> Result<(), HelperError> {
        if answer.status.success() { Ok(()) } else { Err(self.failed(answer)) }
    }

    fn failed(&self, answer: &Answer) -> HelperError {
        // What it writes to stdout while failing is its reason, in this protocol.
        let text = [&answer.stdout, &answer.stderr].into_iter().find(|text| !text.is_empty());
        let text = String::from_utf8_lossy(text.map_or(&[][..], Vec::as_slice)).into_owned();
        let line = text.trim().lines().next().unwrap_or("it does not say why");
        let said = line.chars().filter(|c| !c.is_control()).take(200).collect();
        HelperError::Failed { program: self.program.clone(), status: answer.status, said }
    }

    fn shape(&self) -> HelperError {
        HelperError::Shape { program: self.program.clone() }
    }

    /// Runs the helper to its end.
    fn ask(&self, verb: &str, request: &str) -> Result<Answer, HelperError> {
        let program = || self.program.clone();
        let start = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => HelperError::Missing { program: program() },
            _ => HelperError::Start { program: program(), source },
        };
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let pid = rustix::process::Pid::from_child(&child);
        let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        let handle = handle.map_err(|source| start(source.into()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Short enough for the pipe. A helper need not read it.
            let _ = stdin.write_all(format!("{request}\n").as_bytes());
        }
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(read(child)));
        let answer = receiver.recv_timeout(self.patience);
        if !matches!(answer, Ok(Ok(_))) {
            // It may have ended meanwhile; the descriptor means no other process.
            let _ = rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL);
        }
        let answer = answer.map_err(|_| HelperError::Slow { program: program() })?;
        answer.map_err(start)?.ok_or_else(|| HelperError::Long { program: program() })
    }
}

/// How a helper ended.
struct Answer {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Answer {
    fn says(&self, sentence: &str) -> bool {
        !self.status.success() && String::from_utf8_lossy(&self.stdout).trim() == sentence
    }
}

/// Reads what it says and waits for its end; `None` where it says too much.
fn read(mut child: Child) -> std::io::Result<Option<Answer>> {
    let stderr = child.stderr.take();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut stderr) = stderr {
            // What is said beside the protocol is shown where there is nothing else.
            let _ = (&mut stderr).take(MAX_ANSWER).read_to_end(&mut text);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
        text
    });
    let mut stdout = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(MAX_ANSWER + 1).read_to_end(&mut stdout)?;
    }
    if stdout.len() as u64 > MAX_ANSWER {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    let status = child.wait()?;
    Ok(Some(Answer { status, stdout, stderr: errors.join().unwrap_or_default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A helper that is the shell script `body`.
    fn helper(folder: &std::path::Path, name: &str, body: &str) -> Helper {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Helper { program: path.display().to_string(), patience: Duration::from_secs(20) }
    }

    #[test]
    fn answers_are_read_and_refused() {
        let folder = tempfile::tempdir().unwrap();
        let registry = RegistryKey::parse("a.example:5000").unwrap();
        let table = [
            (
                r#"read url; echo "{\"ServerURL\":\"$url\",\"Username\":\"me\",\"Secret\":\"pw\"}""#,
                "me pw ",
            ),
            (
                r#"echo '{"ServerURL":"https://a.example:5000","Username":"<token>","Secret":"t"}'"#,
                "  t",
            ),
            (r#"echo '{"ServerURL":"","Username":"me","Secret":"pw","Other":1}'"#, "me pw "),
            (r#"echo '{"Username":"","Secret":""}'"#, "nothing"),
            ("echo 'credentials not found in native keychain'; exit 1", "nothing"),
            (
                "echo 'the keychain is locked'; exit 1",
                "failed (exit status: 1): the keychain is locked",
            ),
            ("echo oops >&2; exit 3", "failed (exit status: 3): oops"),
            ("exit 1", "failed (exit status: 1): it does not say why"),
            ("echo geheim", "answers something else than credentials"),
            (
                r#"echo '{"ServerURL":"a.example","Username":"me","Secret":"geheim"}'"#,
                "answers with credentials of \"a.example\"",
            ),
            ("head -c 70000 /dev/zero", "answers more than 64 KiB"),
            ("yes", "answers more than 64 KiB"),
        ];
        for (number, (body, expected)) in table.into_iter().enumerate() {
            let said = match helper(folder.path(), &number.to_string(), body).get(&registry) {
                Ok(Some(auth)) => format!(
                    "{} {} {}",
                    auth.username,
                    auth.password.reveal(),
                    auth.identitytoken.reveal()
                ),
                Ok(None) => "nothing".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(said.ends_with(expected), "{body}: {said}");
            assert!(!said.contains("geheim"), "{body}: {said}");
        }
    }

    #[test]
    fn what_is_stored_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("said");
        let body = format!("echo \"$1\" >> {0}; cat >> {0}", said.display());
        let helper = helper(folder.path(), "helper", &body);
        let auth = AuthConfig {
            username: "me".into(),
            password: Secret::new("p\"w"),
            ..AuthConfig::default()
        };
        let hub = RegistryKey::hub();
        helper.store(&hub, &auth).unwrap();
        let token = AuthConfig { identitytoken: Secret::new("t"), ..auth };
        helper.store(&RegistryKey::parse("a").unwrap(), &token).unwrap();
        helper.erase(&hub).unwrap();
        assert_eq!(
            std::fs::read_to_string(said).unwrap(),
            "store\n{\"ServerURL\":\"https://index.docker.io/v1/\",\"Username\":\"me\",\"Secret\":\"p\\\"w\"}\n\
             store\n{\"ServerURL\":\"a\",\"Username\":\"<token>\",\"Secret\":\"t\"}\n\
             erase\nhttps://index.docker.io/v1/\n"
        );
    }

    #[test]
    fn one_that_hangs_or_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let slow = helper(folder.path(), "slow", "exec sleep 1000");
        let slow = Helper { patience: Duration::from_millis(50), ..slow };
        let registry = RegistryKey::hub();
        let error = slow.get(&registry).unwrap_err();
        assert!(error.to_string().contains("has not answered"), "{error}");
        let error = Helper::new("nobody-has-this").get(&registry).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the credential helper docker-credential-nobody-has-this is not there: no such program in PATH"
        );
    }
}
