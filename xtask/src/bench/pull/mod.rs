//! `cargo xtask bench pull`: pulls and pushes, beside Docker and Podman.
//!
//! The images are made of the fixtures' Debian root file system: one gzip layer, twenty gzip
//! layers, one zstd layer. They come from a `docker-registry` on loopback and from a server of
//! Hull's own. Every engine keeps its state on the same fresh journaled file system, and has
//! forgotten the image before each figure.

mod images;
mod registry;
mod throughput;

use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::images::{Made, Pack};
use self::registry::Server;
use super::engines::Bench;
use super::figures::{Figures, come_to_rest, milliseconds};
use super::memory;
use crate::{build, fixtures, run};

/// Times an engine is measured with each image.
const RUNS: usize = 5;

pub(super) fn pulls(words: &[String]) -> Result<()> {
    if !run::is_root() {
        bail!("pulls are measured as root");
    }
    let runs = match words {
        [] => RUNS,
        [flag, number] if flag == "-n" => number.parse().context("-n takes a number")?,
        _ => bail!("usage: cargo xtask bench pull [-n RUNS]"),
    };
    let debian = fixtures::make()?.join("debian.tar");
    anyhow::ensure!(debian.is_file(), "the fixtures have no Debian root file system");
    let programs = build::release()?;
    let mut bench = Bench::set_up(&programs)?;
    bench.keep(|engine| engine.globals.is_some());
    println!("engines: {}", bench.names().join(", "));

    let folder = bench.folder("images")?;
    let layouts = images::make(&folder, &debian)?;
    for mut server in Server::start_each(&programs, &bench.folder("servers")?)? {
        println!("\n== from {} ==", server.name());
        for made in &layouts {
            push(&mut bench, &mut server, made, runs)?;
        }
        for made in &layouts {
            pull(&mut bench, &server, made, runs)?;
        }
        throughput::of(&server, &layouts[0].layers()?)?;
    }
    inflate(&layouts[0], runs)
}

/// Gives an engine the image, from its archive.
fn load(bench: &mut Bench, index: usize, made: &Made) -> Result<()> {
    let archive = bench.inside(bench.engines[index].agent, &made.archive)?;
    on(bench, index, &["load", "-i", &archive])
}

/// Each engine pushes the image to a registry that holds nothing.
fn push(bench: &mut Bench, server: &mut Server, made: &Made, runs: usize) -> Result<()> {
    for index in 0..bench.engines.len() {
        load(bench, index, made)?;
    }
    let mut figures = Figures::new(&format!("push of {}", made.title));
    for round in 0..runs {
        for index in 0..bench.engines.len() {
            // A name of its own each time: an engine may know what it pushed where.
            let name = bench.engines[index].name.clone();
            let to = server.image(&format!("{}-{round}", made.name));
            on(bench, index, &["tag", &made.local(), &to])?;
            server.start_empty()?;
            come_to_rest()?;
            let words =
                bench.engines[index].command(&[&["push"], insecure(&name), &[&to]].concat());
            let took = bench.time(index, &words, round)?;
            figures.add(&name, took);
            on(bench, index, &["rmi", &to])?;
        }
    }
    figures.print("hull");
    Ok(())
}

/// Each engine pulls the image, which it does not have; then once more, which it has.
fn pull(bench: &mut Bench, server: &Server, made: &Made, runs: usize) -> Result<()> {
    let from = server.image(made.name);
    let hull = bench.index("hull")?;
    load(bench, hull, made)?;
    on(bench, hull, &["tag", &made.local(), &from])?;
    on(bench, hull, &["push", "--quiet", &from])?;
    for index in 0..bench.engines.len() {
        forget(bench, index)?;
    }
    let words = |bench: &Bench, index: usize| {
        let engine = &bench.engines[index];
        engine.command(&[&["pull"], insecure(&engine.name), &[&from]].concat())
    };
    let mut cold = Figures::new(&format!("pull of {}", made.title));
    let mut present = Figures::new(&format!("pull of {}, present", made.title));
    for round in 0..runs {
        for index in 0..bench.engines.len() {
            let name = bench.engines[index].name.clone();
            let words = words(bench, index);
            rustix::fs::sync();
            come_to_rest()?;
            cold.add(&name, bench.time(index, &words, round)?);
            present.add(&name, bench.time(index, &words, round)?);
            forget(bench, index)?;
        }
    }
    cold.print("hull");
    present.print("hull");
    // In a round of its own: who looks at memory all the while takes a processor's time.
    let words = words(bench, hull);
    let (_, most) = watched(|| bench.time(hull, &words, runs))?;
    forget(bench, hull)?;
    println!("memory of hull and its helpers while it pulls, at most: {most} kB (PSS)");
    Ok(())
}

/// Runs `work`; the largest memory meanwhile of everything called `hull`, in kB.
fn watched<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    const LOOK: Duration = Duration::from_millis(20);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(memory::pulling().unwrap_or(0));
                std::thread::sleep(LOOK);
            }
            most
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        let most = watcher.join().map_err(|_| anyhow::anyhow!("the watching thread failed"))?;
        Ok((result?, most))
    })
}

/// What inflating the layer takes without anything else: by the library that Hull uses, by gzip.
fn inflate(made: &Made, runs: usize) -> Result<()> {
    let Pack::Gzip { .. } = made.pack else { bail!("the first image is to have a gzip layer") };
    let layer = made.layers()?.pop().context("the image has no layer")?;
    // As large as Hull's own: a small one takes longer.
    let mut buffer = vec![0; 1 << 20];
    let mut figures = Figures::new("inflating the gzip layer alone");
    for _ in 0..runs {
        let begin = Instant::now();
        let file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(&layer)?);
        let mut inflating = flate2::bufread::GzDecoder::new(file);
        while inflating.read(&mut buffer)? > 0 {}
        figures.add("zlib-rs", begin.elapsed());
        let begin = Instant::now();
        let mut gzip = std::process::Command::new("gzip");
        gzip.arg("-dc").arg(&layer).stdout(std::process::Stdio::null());
        run::run(&mut gzip)?;
        figures.add("gzip -dc", begin.elapsed());
    }
    figures.print("zlib-rs");
    Ok(())
}

/// Makes an engine forget all images that no container uses, and what it kept of them.
fn forget(bench: &mut Bench, index: usize) -> Result<()> {
    on(bench, index, &["system", "prune", "--all", "--force"])
}

fn on(bench: &mut Bench, index: usize, rest: &[&str]) -> Result<()> {
    let words = bench.engines[index].command(rest);
    bench.run(index, &words).map(|_| ())
}

/// What an engine wants to hear before it talks plain HTTP to loopback.
fn insecure(engine: &str) -> &'static [&'static str] {
    if engine == "podman" { &["--tls-verify=false"] } else { &[] }
}

/// `1.2 GB/s`
fn rate(bytes: u64, took: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let megabytes = bytes as f64 / 1e6;
    format!("{:.0} MB/s ({})", megabytes / took.as_secs_f64(), milliseconds(took))
}

/// The path as text, for the words of a command.
fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}
