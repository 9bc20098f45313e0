//! How much a registry gives to many clients at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::registry::Server;
use super::{rate, text};

const CLIENTS: usize = 50;

/// Manifests that each client asks for.
const MANIFESTS: usize = 100;

/// 50 clients: each reads the large layer once, then the manifest a hundred times.
pub(super) fn of(server: &Server, layers: &[PathBuf]) -> Result<()> {
    let [layer] = layers else { bail!("the image is to have one layer") };
    let blob = format!("/v2/bench/gzip/blobs/sha256:{}", hex(layer)?);
    let begin = Instant::now();
    let bytes = at_once(server, &blob, 1)?;
    println!("\n{CLIENTS} clients, one layer each: {}", rate(bytes, begin.elapsed()));
    let begin = Instant::now();
    at_once(server, "/v2/bench/gzip/manifests/1", MANIFESTS)?;
    let took = begin.elapsed();
    let count = u32::try_from(CLIENTS * MANIFESTS)?;
    println!(
        "{CLIENTS} clients, {MANIFESTS} manifests each: {:.0} a second",
        f64::from(count) / took.as_secs_f64()
    );
    Ok(())
}

fn at_once(server: &Server, path: &str, times: usize) -> Result<u64> {
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| client(server, path, times))).collect();
        let mut bytes = 0;
        for client in clients {
            bytes += client.join().map_err(|_| anyhow::anyhow!("a client failed"))??;
        }
        Ok(bytes)
    })
}

/// One connection, `times` requests after each other; the bytes of all bodies.
fn client(server: &Server, path: &str, times: usize) -> Result<u64> {
    let address = server.address();
    let mut stream = TcpStream::connect(address)?;
    let mut answers = BufReader::with_capacity(256 << 10, stream.try_clone()?);
    let mut bytes = 0;
    let mut body = vec![0; 256 << 10];
    for _ in 0..times {
        let accept = hull_oci::media_type::OCI_MANIFEST;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n")?;
        let mut left = length(&mut answers).with_context(|| format!("GET {path}"))?;
        bytes += left;
        while left > 0 {
            let most = body.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = answers.read(&mut body[..most])?;
            anyhow::ensure!(count > 0, "GET {path}: the answer ends {left} bytes early");
            left -= count as u64;
        }
    }
    Ok(bytes)
}

/// Reads the head of an answer; the length of its body.
fn length(answers: &mut impl BufRead) -> Result<u64> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    anyhow::ensure!(line.contains(" 200 "), "{}", line.trim());
    let mut length = None;
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse()?);
        }
    }
    length.context("no content-length in the answer")
}

fn hex(layer: &Path) -> Result<&str> {
    text(Path::new(layer.file_name().context("a layer without a name")?))
}
