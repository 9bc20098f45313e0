//! The options of `hull build` and the request they make.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command};
use hull_api::build::{BuildRequest, Output, Provenance, Secret};

use super::fields;
use crate::options::{self, is_set, list, switch, text, texts, value};

/// How large a secret may be, as BuildKit has it.
const MAX_SECRET: u64 = 500 << 10;

/// Adds every option.
pub(crate) fn command() -> Command {
    Command::new("build").about("Build an image from a Dockerfile").args([
        list("add-host", None, "HOST:IP", "Add a custom host-to-IP mapping"),
        list("allow", None, "ENTITLEMENT", "Allow RUN more: network.host, security.insecure"),
        list("annotation", None, "KEY=VALUE", "Add an annotation to the image's manifest"),
        list("build-arg", None, "NAME[=VALUE]", "Set build-time variables"),
        list("build-context", None, "NAME=CONTEXT", "Additional build contexts"),
        value("builder", None, "NAME", "").hide(true),
        list("cache-from", None, "CACHE", "External cache sources"),
        list("cache-to", None, "CACHE", "Cache export destinations"),
        value("call", None, "METHOD", "What to do: build, check, outline, targets (default build)"),
        switch("check", None, "Shorthand for --call=check: look for mistakes, build nothing"),
        switch("compress", None, "").hide(true),
        switch("explain", None, "Tell of each step that runs why it was not in the cache"),
        value(
            "file",
            Some('f'),
            "FILE",
            "Name of the Dockerfile (default PATH/Dockerfile; - is stdin)",
        ),
        switch("force-rm", None, "").hide(true),
        value("iidfile", None, "FILE", "Write the image ID to a file"),
        list("label", None, "NAME=VALUE", "Set metadata for an image"),
        switch("load", None, "Keep the image here (the default where no output is named)"),
        value("metadata-file", None, "FILE", "Write the build's result metadata to a file"),
        value("network", None, "MODE", "Network of RUN: default, host or none"),
        switch("no-cache", None, "Do not use the cache"),
        list("no-cache-filter", None, "STAGE", "Do not use the cache for these stages"),
        list(
            "output",
            Some('o'),
            "OUTPUT",
            "What to make: type=local|tar|oci|docker|image|registry,dest=PATH",
        ),
        list("platform", None, "PLATFORM", "Platforms to build for"),
        value("progress", None, "KIND", "How to show progress: auto, plain, tty, quiet, rawjson"),
        value("provenance", None, "VALUE", "Shorthand for an attestation of how it was built"),
        switch("pull", None, "Always look for newer versions of base images"),
        switch("push", None, "Push the image to the registries of its names"),
        switch("quiet", Some('q'), "Print the image ID only"),
        switch("rm", None, "").hide(true),
        value("sbom", None, "VALUE", "Shorthand for an attestation of what is in it"),
        list("secret", None, "SECRET", "Secret for RUN: id=NAME[,src=FILE|,env=VARIABLE]"),
        value("shm-size", None, "BYTES", "Size of /dev/shm of RUN"),
        list("ssh", None, "AGENT", "Agent of ssh for RUN: default or NAME=SOCKET"),
        list("tag", Some('t'), "NAME[:TAG]", "Name of the image"),
        value("target", None, "STAGE", "Stage to build (default the last one)"),
        list("ulimit", None, "NAME=SOFT[:HARD]", "Ulimit options of RUN"),
        Arg::new("context").value_name("PATH | URL | -"),
    ])
}

/// What is done with the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Build,
    Check,
    Outline,
    Targets,
}

/// How results of a [`Call`] that builds nothing are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// What `--check` and `--call` say.
///
/// # Errors
/// A method that there is not.
pub(crate) fn call(matches: &ArgMatches) -> Result<(Call, Format)> {
    let check = is_set(matches, "check");
    let Some(method) = text(matches, "call") else {
        return Ok((if check { Call::Check } else { Call::Build }, Format::Text));
    };
    let mut fields = method.split(',');
    let call = match fields.next().unwrap_or_default() {
        "" | "build" => Call::Build,
        "check" | "lint" => Call::Check,
        "outline" => Call::Outline,
        "targets" => Call::Targets,
        other => bail!("--call {other}: it is build, check, outline or targets"),
    };
    if check && call != Call::Check {
        bail!("conflicting options: --check and --call={method}");
    }
    let mut format = Format::Text;
    for field in fields {
        format = match field {
            "format=json" => Format::Json,
            "format=text" => Format::Text,
            _ => bail!("--call {method}: {field:?} is not known, format=json is"),
        };
    }
    Ok((call, format))
}

/// What a build is asked for, without its context. Secrets and agents are looked up.
///
/// # Errors
/// The option that makes no sense, with its value.
pub(crate) fn request(matches: &ArgMatches) -> Result<BuildRequest> {
    let owned = |name| text(matches, name).map(str::to_owned);
    let network = owned("network").unwrap_or_default();
    if !matches!(network.as_str(), "" | "default" | "host" | "none") {
        bail!("--network {network}: RUN has the network default, host or none");
    }
    let tags = texts(matches, "tag");
    for tag in &tags {
        let name =
            tag.parse::<hull_oci::Reference>().with_context(|| format!("invalid tag {tag:?}"))?;
        if name.digest().is_some() {
            bail!("invalid tag {tag:?}: the digest is known only when it is built");
        }
    }
    let provenance = provenance(text(matches, "provenance"))?;
    let mut allow = texts(matches, "allow");
    if network == "host" && !allow.iter().any(|word| word == "network.host") {
        // Docker: who asks for it on the command line has allowed it.
        allow.push("network.host".to_owned());
    }
    Ok(BuildRequest {
        contexts: contexts(&texts(matches, "build-context"))?,
        build_args: build_args(&texts(matches, "build-arg"), |name| std::env::var(name).ok()),
        target: owned("target").filter(|target| !target.is_empty()),
        platforms: platforms(&texts(matches, "platform"))?,
        labels: options::pairs("label", &texts(matches, "label"))?,
        annotations: options::pairs("annotation", &texts(matches, "annotation"))?,
        outputs: outputs(matches, &tags)?,
        tags,
        no_cache: is_set(matches, "no-cache"),
        no_cache_filter: comma_separated(&texts(matches, "no-cache-filter")),
        pull: is_set(matches, "pull"),
        network: if network == "default" { String::new() } else { network },
        add_hosts: texts(matches, "add-host")
            .iter()
            .map(|word| options::host_entry(word))
            .collect::<Result<_>>()?,
        shm_size: match text(matches, "shm-size") {
            Some(word) => u64::try_from(options::bytes("shm-size", word)?)
                .with_context(|| format!("invalid argument {word:?} for \"--shm-size\" flag"))?,
            None => 0,
        },
        ulimits: texts(matches, "ulimit")
            .iter()
            .map(|word| options::ulimit(word))
            .collect::<Result<_>>()?,
        secrets: secrets(&texts(matches, "secret"))?,
        ssh: agents(&texts(matches, "ssh"), |name| std::env::var(name).ok())?,
        allow,
        cache_from: texts(matches, "cache-from")
            .iter()
            .map(|word| cache("cache-from", word))
            .collect::<Result<_>>()?,
        cache_to: texts(matches, "cache-to")
            .iter()
            .map(|word| cache("cache-to", word))
            .collect::<Result<_>>()?,
        explain: is_set(matches, "explain"),
        provenance: provenance.as_ref().map(|(mode, _)| *mode),
        builder_id: provenance.map(|(_, builder)| builder).unwrap_or_default(),
        sbom: sbom(text(matches, "sbom"))?,
        ..BuildRequest::default()
    })
}

/// `--provenance`: how much it says, and who is the builder; nothing unless it is asked for.
fn provenance(value: Option<&str>) -> Result<Option<(Provenance, String)>> {
    let value = match value {
        None | Some("false" | "0" | "disabled=true") => return Ok(None),
        Some("true" | "1") => return Ok(Some((Provenance::Min, String::new()))),
        Some(value) => value,
    };
    let (mut mode, mut builder) = (Provenance::Min, String::new());
    for (key, given) in fields::pairs("provenance", value)? {
        match (key.as_str(), given.as_str()) {
            ("mode", "min") => mode = Provenance::Min,
            ("mode", "max") => mode = Provenance::Max,
            ("builder-id", _) => builder = given,
            _ => bail!(
                "--provenance {value}: it is true, false, mode=min or mode=max, and builder-id=URI"
            ),
        }
    }
    Ok(Some((mode, builder)))
}

/// `--sbom`: it is made by the engine itself, which runs no image for that.
fn sbom(value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("false" | "0" | "disabled=true") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(value) => bail!("--sbom {value}: it is true or false; generators are not run"),
    }
}

fn comma_separated(words: &[String]) -> Vec<String> {
    let parts = words.iter().flat_map(|word| word.split(','));
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// A name alone takes the value of this command's own environment, and is left out where there is
/// none.
fn build_args(
    words: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => {
                args.insert(name.to_owned(), value.to_owned());
            }
            None => args.extend(variable(word).map(|value| (word.clone(), value))),
        }
    }
    args
}

fn platforms(words: &[String]) -> Result<Vec<String>> {
    comma_separated(words)
        .into_iter()
        .map(|word| match word.as_str() {
            "local" => Ok(hull_oci::Platform::host().to_string()),
            text => Ok(text.parse::<hull_oci::Platform>()?.to_string()),
        })
        .collect()
}

fn contexts(words: &[String]) -> Result<BTreeMap<String, String>> {
    let mut contexts = BTreeMap::new();
    for word in words {
        let Some((name, context)) = word.split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            bail!("--build-context {word}: it must be NAME=CONTEXT");
        };
        // Names of images are known under their short form.
        let name = match name.parse::<hull_oci::Reference>() {
            Ok(reference) => {
                let familiar = reference.familiar();
                familiar.strip_suffix(":latest").map_or(familiar.clone(), str::to_owned)
            }
            Err(_) => name.to_lowercase(),
        };
        contexts.insert(name, named_context(context)?);
    }
    Ok(contexts)
}

/// Directories become absolute: the engine has its own working directory.
fn named_context(context: &str) -> Result<String> {
    if let Some(path) = context.strip_prefix("oci-layout://") {
        let (path, rest) = match path.find(['@', ':']) {
            Some(at) => path.split_at(at),
            None => (path, ""),
        };
        return Ok(format!("oci-layout://{}{rest}", absolute(Path::new(path))?.display()));
    }
    if context.contains("://")
        || context.starts_with("target:")
        || hull_builder::remote::Remote::of(context) != hull_builder::remote::Remote::Path
    {
        return Ok(context.to_owned());
    }
    let path = absolute(Path::new(context))?;
    if !path.is_dir() {
        bail!("--build-context: {context} is no directory");
    }
    Ok(path.display().to_string())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
}

fn secrets(words: &[String]) -> Result<BTreeMap<String, Secret>> {
    let mut secrets = BTreeMap::new();
    for word in words {
        let mut given = fields::pairs("secret", word)?;
        let mut take = |names: &[&str]| names.iter().find_map(|name| given.remove(*name));
        let (kind, id) = (take(&["type"]), take(&["id"]));
        let (source, variable) = (take(&["src", "source"]), take(&["env"]));
        if let Some(key) = given.keys().next() {
            bail!("--secret {word}: unexpected key {key:?}");
        }
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            bail!("--secret {word}: it has no id")
        };
        let (file, variable) = match (kind.as_deref(), source, variable) {
            (Some("env"), source, variable) => (None, variable.or(source).or(Some(id.clone()))),
            (None | Some("file"), Some(file), None) => (Some(file), None),
            (None | Some("file"), None, None) if std::env::var_os(&id).is_some() => {
                (None, Some(id.clone()))
            }
            (None | Some("file"), None, None) => (Some(id.clone()), None),
            (None, None, variable) => (None, variable),
            (None, Some(_), Some(_)) => bail!("--secret {word}: src and env exclude each other"),
            (Some(kind), ..) => bail!("--secret {word}: unsupported secret type {kind:?}"),
        };
        let bytes = match (file, variable) {
            (Some(file), _) => {
                secret_file(&file).with_context(|| format!("--secret {id}: cannot read {file}"))?
            }
            (None, Some(name)) => match std::env::var_os(&name) {
                Some(value) => value.into_encoded_bytes(),
                None => bail!("--secret {id}: the variable {name} is not set"),
            },
            (None, None) => Vec::new(),
        };
        secrets.insert(id, Secret(bytes));
    }
    Ok(secrets)
}

fn secret_file(path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_SECRET + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SECRET {
        bail!("it is larger than {} KiB", MAX_SECRET >> 10);
    }
    Ok(bytes)
}

fn agents(
    words: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>> {
    let mut agents = BTreeMap::new();
    for word in words {
        let (id, path) = word.split_once('=').unwrap_or((word, ""));
        let path = match path {
            "" => match variable("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) {
                Some(path) => path,
                None => bail!("--ssh {word}: no agent is running, SSH_AUTH_SOCK is not set"),
            },
            path => path.to_owned(),
        };
        use std::os::unix::fs::FileTypeExt as _;
        let is_socket = std::fs::metadata(&path).is_ok_and(|found| found.file_type().is_socket());
        if !is_socket {
            bail!(
                "--ssh {word}: {path} is no socket of an agent; a key is given to one with ssh-add, \
                 and the agent to the build with --ssh {id}"
            );
        }
        agents.insert(id.to_owned(), absolute(Path::new(&path))?.display().to_string());
    }
    Ok(agents)
}

fn cache(option: &str, word: &str) -> Result<BTreeMap<String, String>> {
    if !word.contains('=') {
        let entries = [("type", "registry"), ("ref", word)];
        return Ok(entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }
    let mut cache = fields::pairs(option, word)?;
    match cache.get("type").map(String::as_str) {
        Some("registry" | "local" | "inline") => {}
        Some(other) => {
            bail!("--{option} {word}: type {other:?} is not known: registry, local, inline are")
        }
        None => bail!("--{option} {word}: it has no type"),
    }
    for key in ["src", "dest"] {
        if let Some(path) = cache.get_mut(key) {
            *path = absolute(Path::new(path))?.display().to_string();
        }
    }
    Ok(cache)
}

fn outputs(matches: &ArgMatches, tags: &[String]) -> Result<Vec<Output>> {
    let words = texts(matches, "output");
    let (load, push) = (is_set(matches, "load"), is_set(matches, "push"));
    let mut outputs = words.iter().map(|word| output(word)).collect::<Result<Vec<_>>>()?;
    if push {
        if tags.is_empty() && outputs.iter().all(|output| !output.attributes.contains_key("name")) {
            bail!("--push needs a name: -t REGISTRY/NAME");
        }
        outputs.push(Output { kind: "registry".to_owned(), attributes: BTreeMap::new() });
    }
    if load && !outputs.is_empty() {
        outputs.push(Output { kind: "image".to_owned(), attributes: BTreeMap::new() });
    }
    let to_stdout = outputs.iter().filter(|output| is_stdout(output)).count();
    if to_stdout > 1 {
        bail!("only one output can be written to stdout");
    }
    Ok(outputs)
}

/// Whether an output is written to stdout.
pub(crate) fn is_stdout(output: &Output) -> bool {
    output.attributes.get("dest").is_some_and(|dest| dest == "-")
}

fn output(word: &str) -> Result<Output> {
    if !word.contains('=') {
        // A path alone: a directory, or a tar on stdout.
        let kind = if word == "-" { "tar" } else { "local" };
        let dest = if word == "-" {
            word.to_owned()
        } else {
            absolute(Path::new(word))?.display().to_string()
        };
        let attributes = BTreeMap::from([("dest".to_owned(), dest)]);
        return Ok(Output { kind: kind.to_owned(), attributes });
    }
    let mut attributes = fields::pairs("output", word)?;
    let Some(kind) = attributes.remove("type") else { bail!("--output {word}: it has no type") };
    if let Some(path) = attributes.remove("destination") {
        attributes.insert("dest".to_owned(), path);
    }
    let needs_path = match kind.as_str() {
        "local" => true,
        "tar" | "oci" => {
            attributes.entry("dest".to_owned()).or_insert_with(|| "-".to_owned());
            true
        }
        "docker" | "image" | "registry" => false,
        other => bail!(
            "--output {word}: type {other:?} is not known: local, tar, oci, docker, image, registry are"
        ),
    };
    let is_directory = kind == "local"
        || attributes.get("tar").is_some_and(|tar| matches!(tar.as_str(), "false" | "0"));
    match attributes.get_mut("dest") {
        Some(dest) if dest == "-" && is_directory => {
            bail!(
                "--output {word}: a directory cannot be written to stdout: name one with dest=PATH"
            )
        }
        Some(dest) if dest != "-" => *dest = absolute(Path::new(dest))?.display().to_string(),
        None if needs_path => bail!("--output {word}: it needs dest=PATH"),
        _ => {}
    }
    if attributes.get("dest").is_some_and(|dest| dest == "-")
        && rustix::termios::isatty(std::io::stdout())
    {
        bail!("refusing to write an archive to a terminal: name a file with dest=PATH");
    }
    Ok(Output { kind, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<BuildRequest> {
        request(&command().no_binary_name(true).try_get_matches_from(words).unwrap())
    }

    #[track_caller]
    fn refused(words: &[&str], message: &str) {
        let error = format!("{:#}", parsed(words).unwrap_err());
        assert!(error.contains(message), "{words:?}: {error}");
    }

    #[test]
    fn a_request_says_what_the_options_say() {
        let request = parsed(&[
            "-t",
            "a:1",
            "-t",
            "b",
            "--build-arg",
            "x=1=2",
            "--build-arg",
            "surely_not_set",
            "--platform",
            "linux/amd64,linux/arm64",
            "--platform=local",
            "--label",
            "l=v",
            "--no-cache-filter=a,b",
            "--network=host",
            "--add-host",
            "h=1.2.3.4",
            "--shm-size",
            "1m",
            "--ulimit",
            "nofile=1:2",
            "--target",
            "t",
            "--pull",
            "--explain",
            ".",
        ])
        .unwrap();
        assert_eq!(request.tags, ["a:1", "b"]);
        assert_eq!(request.build_args, BTreeMap::from([("x".into(), "1=2".into())]));
        assert_eq!(request.platforms[..2], ["linux/amd64", "linux/arm64"]);
        assert_eq!(request.platforms.len(), 3);
        assert_eq!(request.no_cache_filter, ["a", "b"]);
        assert_eq!(
            (request.network.as_str(), request.allow.as_slice()),
            ("host", &["network.host".into()][..])
        );
        assert_eq!(request.add_hosts, ["h:1.2.3.4"]);
        assert_eq!(request.shm_size, 1 << 20);
        assert_eq!(request.target.as_deref(), Some("t"));
        assert!(request.pull && request.explain && request.outputs.is_empty());
    }

    #[test]
    fn outputs_and_caches() {
        let request =
            parsed(&["-o", "out", "-o", "type=oci,dest=/x.tar,compression=zstd", "--load"]);
        let outputs = request.unwrap().outputs;
        let kinds: Vec<_> = outputs.iter().map(|output| output.kind.as_str()).collect();
        assert_eq!(kinds, ["local", "oci", "image"]);
        assert!(outputs[0].attributes["dest"].starts_with('/'));
        assert_eq!(outputs[1].attributes["compression"], "zstd");
        let request = parsed(&["--cache-from", "a:1", "--cache-to", "type=local,dest=c"]).unwrap();
        assert_eq!(
            (request.cache_from[0]["type"].as_str(), request.cache_from[0]["ref"].as_str()),
            ("registry", "a:1")
        );
        assert!(request.cache_to[0]["dest"].starts_with('/'));
        refused(&["-o", "type=nope"], "type \"nope\" is not known");
        refused(&["-o", "type=local"], "needs dest=PATH");
        refused(&["-o", "type=local,dest=-"], "cannot be written to stdout");
        refused(&["-o", "dest=x"], "has no type");
        refused(&["--push"], "needs a name");
        refused(&["--cache-to", "type=s3,x=y"], "is not known");
        refused(&["--cache-to", "x=y"], "has no type");
    }

    #[test]
    fn secrets_and_agents() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hidden").unwrap();
        let path = file.path().display().to_string();
        let secrets =
            parsed(&["--secret", &format!("id=a,src={path}"), "--secret", "id=p,env=PATH"]);
        let secrets = secrets.unwrap().secrets;
        assert_eq!(secrets["a"].0, b"hidden");
        assert!(!format!("{secrets:?}").contains("hidden"));
        assert!(!secrets["p"].0.is_empty());
        refused(&["--secret", "src=x"], "has no id");
        refused(&["--secret", "id=x,src=/no/such"], "cannot read /no/such");
        refused(&["--secret", "id=x,env=SURELY_NOT_SET"], "is not set");
        refused(&["--secret", "id=x,wat=y"], "unexpected key \"wat\"");
        refused(&["--secret", "id=x,src=a,env=b"], "exclude each other");
        refused(&["--ssh", &format!("default={path}")], "is no socket of an agent");
        assert!(
            agents(&["default".to_owned()], |_| None)
                .unwrap_err()
                .to_string()
                .contains("SSH_AUTH_SOCK")
        );
    }

    #[test]
    fn named_contexts() {
        let request = parsed(&[
            "--build-context",
            "Src=.",
            "--build-context",
            "docker.io/library/alpine:latest=docker-image://x",
            "--build-context",
            "o=oci-layout://dir:tag",
            "--build-context",
            "g=https://h/r.git#main",
        ])
        .unwrap();
        assert!(request.contexts["src"].starts_with('/'));
        assert_eq!(request.contexts["alpine"], "docker-image://x");
        assert!(
            request.contexts["o"].starts_with("oci-layout:///")
                && request.contexts["o"].ends_with("dir:tag")
        );
        assert_eq!(request.contexts["g"], "https://h/r.git#main");
        let request = parsed(&["--build-context", "s=target:other"]).unwrap();
        assert_eq!(request.contexts["s"], "target:other");
        refused(&["--build-context", "x"], "NAME=CONTEXT");
        refused(&["--build-context", "x=/no/such"], "is no directory");
    }

    #[test]
    fn refused_with_their_value() {
        refused(&["-t", "UPPER"], "invalid tag \"UPPER\"");
        refused(&["--network", "bridge"], "default, host or none");
        refused(&["--platform", "a/b/c/d"], "is not a platform");
        refused(&["--shm-size", "x"], "shm-size");
        refused(&["--ulimit", "x"], "invalid ulimit");
        refused(&["--add-host", "x"], "add-host");
        refused(&["--provenance", "mode=much"], "mode=min or mode=max");
        refused(&["--sbom", "generator=x"], "generators are not run");
    }

    #[test]
    fn attestations() {
        let of = |words: &[&str]| {
            let request = parsed(words).unwrap();
            (request.provenance, request.sbom)
        };
        assert_eq!(of(&[]), (None, false));
        assert_eq!(of(&["--provenance=false", "--sbom=false"]), (None, false));
        assert_eq!(of(&["--provenance=true", "--sbom=true"]), (Some(Provenance::Min), true));
        assert_eq!(of(&["--provenance", "mode=max"]), (Some(Provenance::Max), false));
        let builder = parsed(&["--provenance", "mode=max,builder-id=https://ci.test/7"]).unwrap();
        assert_eq!(builder.builder_id, "https://ci.test/7");
        assert_eq!(builder.provenance, Some(Provenance::Max));
    }

    #[test]
    fn calls() {
        let of = |words: &[&str]| {
            call(&command().no_binary_name(true).try_get_matches_from(words).unwrap())
        };
        assert_eq!(of(&[]).unwrap(), (Call::Build, Format::Text));
        assert_eq!(of(&["--check"]).unwrap(), (Call::Check, Format::Text));
        assert_eq!(of(&["--call=outline,format=json"]).unwrap(), (Call::Outline, Format::Json));
        assert!(of(&["--call=nope"]).is_err() && of(&["--check", "--call=outline"]).is_err());
    }
}
