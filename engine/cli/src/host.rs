//! Which engine a command speaks to.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Where Docker's engine listens if nothing else is said.
const DOCKER: &str = "unix:///var/run/docker.sock";

/// Name of a daemon's socket in its exec root.
const SOCKET: &str = "hull.sock";

/// The address of a daemon whose exec root is `exec_root`, where no other was chosen.
pub(crate) fn default_address(exec_root: &Path) -> String {
    format!("unix://{}", exec_root.join(SOCKET).display())
}

/// The socket that `--host` or `HULL_HOST` names: `unix:///path`, or `docker` for the engine that
/// Docker's own client would speak to.
///
/// # Errors
/// When it is something else.
pub(crate) fn socket(host: &str, variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf> {
    if host == "docker" {
        let address = variable("DOCKER_HOST").unwrap_or_else(|| DOCKER.to_owned());
        return path(&address);
    }
    path(host)
}

fn path(address: &str) -> Result<PathBuf> {
    match address.strip_prefix("unix://") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => bail!("cannot reach {address:?}: only unix:///path.sock is understood"),
    }
}

/// The socket of a daemon that lives at the default place, for who cannot be an engine himself.
pub(crate) fn default_daemon(exec_root: &Path) -> Option<PathBuf> {
    let path = exec_root.join(SOCKET);
    UnixStream::connect(&path).is_ok().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let none = |_: &str| None;
        assert_eq!(socket("unix:///a/b", none).unwrap(), Path::new("/a/b"));
        assert_eq!(socket("docker", none).unwrap(), Path::new("/var/run/docker.sock"));
        let other = |name: &str| (name == "DOCKER_HOST").then(|| "unix:///d".to_owned());
        assert_eq!(socket("docker", other).unwrap(), Path::new("/d"));
        for bad in ["tcp://1.2.3.4:2375", "unix://", "/a/b", ""] {
            let error = socket(bad, none).unwrap_err().to_string();
            assert!(error.contains("only unix:///path.sock"), "{bad}: {error}");
        }
        let remote = |_: &str| Some("ssh://somewhere".to_owned());
        assert!(socket("docker", remote).is_err());
    }
}
