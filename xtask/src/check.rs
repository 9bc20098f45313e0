//! What a machine can check of how the code is written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::run::{cargo, run};

/// Which of our packages a package may depend on. A new edge is a commit of its own, with its
/// reason.
const EDGES: &[(&str, &[&str])] = &[
    ("hull-attestation", &["hull-oci"]),
    ("hull-events", &[]),
    ("hull-git", &[]),
    ("hull-oci", &[]),
    ("hull-sys", &[]),
    ("hull-api", &["hull-oci"]),
    ("hull-builder", &["hull-oci"]),
    ("hull-store", &["hull-oci", "hull-sys"]),
    ("hull-registry", &["hull-oci", "hull-sys"]),
    ("hull-sandbox", &["hull-sys"]),
    ("hull-shim", &["hull-events", "hull-sandbox", "hull-sys"]),
    ("hull-transfer", &["hull-git", "hull-oci", "hull-registry", "hull-sys"]),
    ("hull-worker", &["hull-attestation", "hull-git", "hull-oci", "hull-store", "hull-sys"]),
    (
        "hull-daemon",
        &[
            "hull-api",
            "hull-attestation",
            "hull-builder",
            "hull-events",
            "hull-oci",
            "hull-registry",
            "hull-sandbox",
            "hull-shim",
            "hull-store",
            "hull-sys",
            "hull-transfer",
            "hull-worker",
        ],
    ),
    ("hull-cli", &["hull-api", "hull-builder", "hull-daemon", "hull-oci", "hull-sys"]),
    ("hull-probe", &["hull-sys"]),
    ("hull-test-support", &["hull-oci"]),
    ("hull-e2e", &["hull-test-support"]),
    ("hull-security", &["hull-test-support"]),
    (
        "hull-fuzz",
        &[
            "hull-api",
            "hull-builder",
            "hull-cli",
            "hull-git",
            "hull-oci",
            "hull-registry",
            "hull-sandbox",
            "hull-store",
        ],
    ),
    ("xtask", &["hull-oci"]),
];

/// What the helper processes may not link (DESIGN: least privilege by process).
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("hull-shim", &["tokio", "hyper", "rustls", "wasmtime", "ring", "zstd", "flate2", "clap"]),
    ("hull-transfer", &["wasmtime", "clap", "hull-store", "hull-sandbox", "aws-lc-rs"]),
    ("hull-worker", &["tokio", "hyper", "rustls", "wasmtime", "clap", "hull-sandbox"]),
];

pub(crate) fn check() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&[
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    run(cargo(&["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    let metadata = MetadataCommand::new().exec()?;
    let mut wrong = edges(&metadata);
    wrong.extend(linked(&metadata));
    wrong.extend(unsafe_outside_sys(&metadata)?);
    if wrong.is_empty() {
        println!("check: format, lints, docs, edges and links are as they should be");
        return Ok(());
    }
    bail!("{}", wrong.join("\n"));
}

/// Edges between our packages that the table does not allow.
fn edges(metadata: &Metadata) -> Vec<String> {
    let ours: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some((_, allowed)) = EDGES.iter().find(|(of, _)| *of == name) else {
            wrong.push(format!("{name} is not in the table of package edges"));
            continue;
        };
        for dependency in &package.dependencies {
            let on = dependency.name.as_str();
            let for_tests = dependency.kind == DependencyKind::Development;
            if ours.contains(on) && !allowed.contains(&on) && !for_tests {
                wrong.push(format!("{name} depends on {on}: not an allowed edge"));
            }
        }
    }
    wrong
}

/// Crates in the closure of a helper that it must not link.
fn linked(metadata: &Metadata) -> Vec<String> {
    let Some(resolve) = &metadata.resolve else { return vec!["no resolved graph".to_owned()] };
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let mut wrong = Vec::new();
    for (program, forbidden) in FORBIDDEN {
        let mut found = BTreeSet::new();
        let mut open: Vec<&PackageId> =
            names.iter().filter(|(_, name)| name == &program).map(|(id, _)| *id).collect();
        while let Some(id) = open.pop() {
            if !found.insert(id) {
                continue;
            }
            let Some(node) = resolve.nodes.iter().find(|node| &node.id == id) else { continue };
            open.extend(node.deps.iter().filter_map(|dependency| {
                let normal =
                    dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
                normal.then_some(&dependency.pkg)
            }));
        }
        for id in found {
            if forbidden.contains(&names[id]) {
                wrong.push(format!("{program} links {}", names[id]));
            }
        }
    }
    wrong
}

/// Packages but `hull-sys` that do not take the workspace's `unsafe_code = "forbid"`.
fn unsafe_outside_sys(metadata: &Metadata) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path)?;
        let inherits = manifest.contains("[lints]\nworkspace = true");
        if !inherits && package.name.as_str() != "hull-sys" {
            wrong.push(format!("{} does not take the workspace's lints", package.name));
        }
    }
    Ok(wrong)
}
