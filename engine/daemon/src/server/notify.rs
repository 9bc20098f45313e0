//! Telling systemd how far the daemon is (sd_notify(3)).

use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The daemon answers requests.
pub fn ready() {
    tell("READY=1\n");
}

/// The daemon reads its settings again; [`ready`] follows.
pub fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let microseconds = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n"));
}

/// The daemon is about to end.
pub fn stopping() {
    tell("STOPPING=1\n");
}

fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(name.as_encoded_bytes(), state) {
        tracing::warn!(%error, "cannot tell the service manager {state:?}");
    }
}

fn send(name: &[u8], state: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_names_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let named = UnixDatagram::bind(&path).unwrap();
        let hidden = format!("hull-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&hidden).unwrap();
        let nameless = UnixDatagram::bind_addr(&address).unwrap();
        for (name, socket) in
            [(path.display().to_string(), named), (format!("@{hidden}"), nameless)]
        {
            send(name.as_bytes(), "READY=1\n").unwrap();
            let mut told = [0; 32];
            let count = socket.recv(&mut told).unwrap();
            assert_eq!(&told[..count], b"READY=1\n");
        }
        assert!(send(b"/nowhere/at/all", "READY=1\n").is_err());
    }
}
