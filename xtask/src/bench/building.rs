//! `cargo xtask bench build`: Dockerfile builds beside BuildKit and Podman.
//!
//! The base images are made here: a static busybox, and the fixtures' Debian root file system with
//! a compiler. An engine that cannot do a build at all is named and left out of its figures.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::engines::Bench;
use super::figures::{Figures, come_to_rest};
use crate::{build, fixtures, run};

/// `RUN` steps of the first build.
const STEPS: usize = 20;

/// Files of the large context.
const FILES: usize = 10_000;

/// Bytes of the file that is copied.
const LARGE: usize = 1 << 30;

pub(super) fn builds(words: &[String]) -> Result<()> {
    if !run::is_root() {
        bail!("builds are measured as root");
    }
    let runs = match words {
        [] => 5,
        [flag, number] if flag == "-n" => number.parse().context("-n takes a number")?,
        _ => bail!("usage: cargo xtask bench build [-n RUNS]"),
    };
    let fixtures = fixtures::make()?;
    let programs = build::release()?;
    let mut bench = Bench::set_up(&programs)?;
    bench.keep(|engine| engine.globals.is_some());
    println!("engines: {}", bench.names().join(", "));
    bases(&mut bench, &fixtures)?;

    let steps = bench.folder("steps")?;
    let lines = (0..STEPS).map(|step| format!("RUN echo {step} > /step-{step}\n"));
    fs::write(steps.join("Dockerfile"), format!("FROM base\n{}", lines.collect::<String>()))?;
    Case::new("20 RUN steps, cold", "steps").cold().measure(&mut bench, runs)?;
    Case::new("20 RUN steps, unchanged", "steps").measure(&mut bench, runs)?;

    let many = bench.folder("many")?;
    many_files(&many)?;
    Case::new("context of 10,000 files, unchanged", "many").measure(&mut bench, runs)?;
    let one = many.join("files/17/5");
    Case::new("context of 10,000 files, one changed", "many")
        .before(&one)
        .measure(&mut bench, runs)?;

    let large = bench.folder("large")?;
    noise(&large.join("data"))?;
    fs::write(large.join("Dockerfile"), "FROM base\nCOPY data /data\n")?;
    Case::new("COPY of 1 GB, cold", "large").cold().measure(&mut bench, runs)?;

    let stages = bench.folder("stages")?;
    multi_stage(&stages)?;
    Case::new("multi-stage build of a C program, cold", "stages")
        .cold()
        .measure(&mut bench, runs)?;
    let source = stages.join("main.c");
    Case::new("multi-stage build, source changed", "stages")
        .before(&source)
        .measure(&mut bench, runs)
}

/// One thing that is measured.
struct Case<'a> {
    title: &'a str,
    folder: &'a str,
    cold: bool,
    changed: Option<&'a Path>,
}

impl<'a> Case<'a> {
    fn new(title: &'a str, folder: &'a str) -> Self {
        Self { title, folder, cold: false, changed: None }
    }

    /// Nothing of earlier builds is used.
    fn cold(mut self) -> Self {
        self.cold = true;
        self
    }

    /// A line is added to this file before each build.
    fn before(mut self, file: &'a Path) -> Self {
        self.changed = Some(file);
        self
    }

    fn measure(&self, bench: &mut Bench, runs: usize) -> Result<()> {
        let mut figures = Figures::new(self.title);
        let mut refused = vec![None; bench.engines.len()];
        for round in 0..=runs {
            for (index, refused) in refused.iter_mut().enumerate() {
                if refused.is_some() {
                    continue;
                }
                if let Some(file) = self.changed {
                    writeln!(
                        fs::OpenOptions::new().append(true).open(file)?,
                        "/* {round} {index} */"
                    )?;
                }
                let words = self.command(bench, index)?;
                come_to_rest()?;
                match bench.time(index, &words, round) {
                    // The first one fills caches.
                    Ok(took) if round > 0 => figures.add(&bench.engines[index].name, took),
                    Ok(_) => {}
                    Err(error) => *refused = Some(format!("{error:#}")),
                }
            }
        }
        figures.print("hull");
        for (engine, problem) in bench.engines.iter().zip(refused) {
            if let Some(problem) = problem {
                let last = problem.lines().last().unwrap_or_default();
                println!("{:<18} cannot: {last}", engine.name);
            }
        }
        Ok(())
    }

    fn command(&self, bench: &Bench, index: usize) -> Result<Vec<String>> {
        let engine = &bench.engines[index];
        let folder = bench.inside(engine.agent, self.folder)?;
        let mut rest = vec!["build", "--network", "none", "-t", "built"];
        if self.cold {
            rest.push("--no-cache");
        }
        rest.push(&folder);
        Ok(engine.command(&rest))
    }
}

fn bases(bench: &mut Bench, fixtures: &Path) -> Result<()> {
    let folder = bench.folder("base")?;
    fs::create_dir_all(folder.join("bin"))?;
    fs::create_dir_all(folder.join("etc"))?;
    fs::copy(fixtures.join("busybox"), folder.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", folder.join("bin/sh"))?;
    fs::write(folder.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    fs::write(folder.join("etc/group"), "root:x:0:\n")?;
    let tar = folder.with_extension("tar");
    let mut pack = std::process::Command::new("tar");
    run::run(
        pack.args(["--owner=0", "--group=0", "-C"]).arg(&folder).arg("-cf").arg(&tar).arg("."),
    )?;
    fs::copy(fixtures.join("toolchain.tar"), folder.with_file_name("toolchain.tar"))
        .context("the fixtures have no root file system with a compiler")?;
    for index in 0..bench.engines.len() {
        for name in ["base", "toolchain"] {
            let tar = bench.inside(bench.engines[index].agent, &format!("{name}.tar"))?;
            let words = bench.engines[index].command(&["import", &tar, name]);
            bench.run(index, &words)?;
        }
    }
    Ok(())
}

fn many_files(folder: &Path) -> Result<()> {
    for directory in 0..FILES / 100 {
        let directory = folder.join(format!("files/{directory}"));
        fs::create_dir_all(&directory)?;
        for file in 0..100 {
            fs::write(directory.join(file.to_string()), format!("{}\n", directory.display()))?;
        }
    }
    fs::write(folder.join("Dockerfile"), "FROM base\nCOPY files /files\nRUN echo done > /done\n")?;
    Ok(())
}

/// Bytes that no file system and no compression makes less of.
fn noise(path: &Path) -> Result<()> {
    let mut random = fs::File::open("/dev/urandom")?;
    let mut file = fs::File::create(path)?;
    let mut limited = std::io::Read::take(&mut random, LARGE as u64);
    std::io::copy(&mut limited, &mut file)?;
    Ok(())
}

fn multi_stage(folder: &Path) -> Result<()> {
    fs::write(
        folder.join("main.c"),
        "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n",
    )?;
    fs::write(folder.join("Makefile"), "main: main.c\n\tgcc -O2 -static -o main main.c\n")?;
    let lines = "FROM toolchain AS build\n\
                 WORKDIR /src\n\
                 COPY Makefile main.c ./\n\
                 RUN make\n\
                 FROM scratch\n\
                 COPY --from=build /src/main /main\n\
                 ENTRYPOINT [\"/main\"]\n";
    fs::write(folder.join("Dockerfile"), lines)?;
    Ok(())
}
