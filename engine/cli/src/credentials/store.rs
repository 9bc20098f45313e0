//! The files and helpers of one user.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hull_api::registry::AuthConfig;
use rustix::fs::FlockOperation;

use super::document::Document;
use super::entry::{self, Found};
use super::helper::Helper;
use super::key::{RegistryKey, Wanted};

/// The most that is read of a file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Name of the variable that holds what would be in a file.
const VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// Where a user's credentials are.
#[derive(Debug)]
pub(crate) struct Store {
    /// The text of [`VARIABLE`].
    variable: Option<String>,
    /// Files, in the order in which they are asked.
    files: Vec<Source>,
    /// The folder of Docker's own files.
    config: PathBuf,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// Whether it may name helpers.
    helpers: bool,
}

/// Where a login was kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    /// In this file, where whoever can read the file can read it.
    File(PathBuf),
    /// With a helper.
    Helper,
}

impl Store {
    /// The one that the environment tells of.
    ///
    /// # Errors
    /// Nothing tells where it is.
    pub(crate) fn of_user(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let config = match (folder("DOCKER_CONFIG"), folder("HOME")) {
            (Some(folder), _) => folder,
            (None, Some(home)) => home.join(".docker"),
            (None, None) => {
                bail!("cannot tell where credentials are: neither DOCKER_CONFIG nor HOME is set")
            }
        };
        let mut files = Vec::new();
        if let Some(path) = folder("REGISTRY_AUTH_FILE") {
            files.push(Source { path, helpers: true });
        }
        files.push(Source { path: config.join("config.json"), helpers: true });
        let user = rustix::process::geteuid().as_raw();
        let runtime = folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers"));
        let runtime = runtime.unwrap_or_else(|| format!("/run/containers/{user}").into());
        files.push(Source { path: runtime.join("auth.json"), helpers: true });
        Ok(Self { variable: variable(VARIABLE), files, config })
    }

    /// The folder for what Docker's client keeps beside credentials.
    pub(crate) fn folder(&self) -> &Path {
        &self.config
    }

    /// Whether a login is hidden by the variable, which nobody here can change.
    pub(crate) fn is_overridden(&self, wanted: &Wanted) -> bool {
        let Some(text) = &self.variable else { return false };
        matches!(entry::find(text, wanted, false), Ok(Found::Here(_)))
    }

    /// The credentials for `wanted`; the first source that has some.
    ///
    /// # Errors
    /// A file that cannot be read or is none, a helper that fails.
    pub(crate) fn find(&self, wanted: &Wanted) -> Result<Option<AuthConfig>> {
        if let Some(text) = &self.variable {
            let found = entry::find(text, wanted, false)
                .with_context(|| format!("cannot use the variable {VARIABLE}"))?;
            if let Found::Here(auth) = found {
                return Ok(Some(auth));
            }
        }
        for Source { path, helpers } in &self.files {
            let Some(text) = read(path)? else { continue };
            let found = entry::find(&text, wanted, *helpers)
                .with_context(|| format!("cannot use {}", path.display()))?;
            let auth = match found {
                Found::Here(auth) => Some(auth),
                Found::Helper(name) => Helper::new(&name).get(&wanted.registry)?,
                Found::Nothing => None,
            };
            if auth.is_some() {
                return Ok(auth);
            }
        }
        Ok(None)
    }

    /// Keeps credentials: with the helper that is configured, else in the file.
    ///
    /// # Errors
    /// A file that is none or cannot be replaced, a helper that fails.
    pub(crate) fn save(&self, registry: &RegistryKey, auth: &AuthConfig) -> Result<Saved> {
        let mut saved = Saved::Helper;
        let wanted = Wanted::registry(registry.clone());
        self.change(|document, path| {
            let helper = entry::helper(document, &wanted)?;
            let text = match helper {
                Some(name) => {
                    Helper::new(&name).store(registry, auth)?;
                    // As Docker does: who lists the file sees that there is a login.
                    "{}".to_owned()
                }
                None => {
                    saved = Saved::File(path.to_owned());
                    entry::encode(auth)
                }
            };
            let mut auths = document.object("auths")?.unwrap_or_default();
            let address = registry.server_address();
            auths.remove(|key| key != address && is_whole(&wanted, key));
            auths.set(address, text)?;
            Ok(document.set("auths", auths.to_text(1))?)
        })?;
        Ok(saved)
    }

    /// Forgets the credentials of a registry; whether there were any.
    ///
    /// # Errors
    /// A file that is none or cannot be replaced, a helper that fails.
    pub(crate) fn erase(&self, registry: &RegistryKey) -> Result<bool> {
        let wanted = Wanted::registry(registry.clone());
        let mut had = false;
        if read(&self.target()?)?.is_none() {
            return Ok(false);
        }
        self.change(|document, _| {
            if let Some(name) = entry::helper(document, &wanted)? {
                let helper = Helper::new(&name);
                had = helper.get(registry)?.is_some();
                helper.erase(registry)?;
            }
            if let Some(mut auths) = document.object("auths")?
                && auths.remove(|key| is_whole(&wanted, key))
            {
                had = true;
                document.set("auths", auths.to_text(1))?;
            }
            Ok(())
        })?;
        Ok(had)
    }

    /// The file that logins change, behind whatever links lead to it.
    fn target(&self) -> Result<PathBuf> {
        // There is Docker's file at least.
        let path = self.files.first().map_or_else(|| &self.config, |source| &source.path);
        match fs::canonicalize(path) {
            Ok(path) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.clone()),
            Err(error) => Err(error).with_context(|| format!("cannot use {}", path.display())),
        }
    }

    /// Reads the file, changes it, and puts the new one in its place in one step, if it differs.
    /// Two logins at a time wait for each other.
    fn change(&self, edit: impl FnOnce(&mut Document, &Path) -> Result<()>) -> Result<()> {
        let path = self.target()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let context = || format!("cannot write {}", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(context)?;
        let lock = File::open(folder).with_context(context)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).with_context(context)?;
        let before = read(&path)?;
        let text = before.as_deref().unwrap_or_default();
        let mut document =
            Document::parse(text).with_context(|| format!("cannot use {}", path.display()))?;
        edit(&mut document, &path)
            .with_context(|| format!("cannot change the credentials in {}", path.display()))?;
        let after = document.to_text(0);
        if before.as_deref() == Some(after.as_str()) {
            return Ok(());
        }
        replace(&path, after.as_bytes()).with_context(context)?;
        lock.sync_all().with_context(context)
    }
}

/// Whether a key of a file means all of the registry.
fn is_whole(wanted: &Wanted, key: &str) -> bool {
    wanted.rank(key).is_some()
}

/// A file's text; `None` where there is none.
fn read(path: &Path) -> Result<Option<String>> {
    let context = || format!("cannot read {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(context),
    };
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).with_context(context)?;
    if text.len() as u64 > MAX_FILE {
        bail!("cannot use {}: it has more than {} MiB", path.display(), MAX_FILE >> 20);
    }
    Ok(Some(text))
}

/// Writes a file of mode 0600 beside `path` and renames it over it. It belongs to whom the old one
/// belonged to.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.part", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        if let Ok(old) = fs::metadata(path) {
            let (owner, group) = (Some(old.uid()), Some(old.gid()));
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                std::os::unix::fs::fchown(&file, owner, group)?;
            }
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        // The error at hand says more than one about what is left.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_api::registry::Secret;
    use std::os::unix::fs::PermissionsExt as _;

    fn store(folder: &Path, more: &[(&str, &str)]) -> Store {
        let config = folder.join("config").display().to_string();
        let runtime = folder.join("run").display().to_string();
        let mut all = vec![("DOCKER_CONFIG", config.as_str()), ("XDG_RUNTIME_DIR", &runtime)];
        all.extend(more);
        Store::of_user(|name| {
            all.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
        .unwrap()
    }

    fn auth(name: &str) -> AuthConfig {
        AuthConfig {
            username: name.to_owned(),
            password: Secret::new("pw"),
            ..AuthConfig::default()
        }
    }

    fn user(store: &Store, registry: &str) -> Option<String> {
        let wanted = Wanted::registry(RegistryKey::parse(registry).unwrap());
        store.find(&wanted).unwrap().map(|auth| auth.username)
    }

    #[test]
    fn a_login_is_kept_and_forgotten_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), &[]);
        let path = folder.path().join("config/config.json");
        let registry = RegistryKey::parse("a.example:5000").unwrap();
        assert_eq!(store.save(&registry, &auth("me")).unwrap(), Saved::File(path.clone()));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\n\t\"auths\": {\n\t\t\"a.example:5000\": {\n\t\t\t\"auth\": \"bWU6cHc=\"\n\t\t}\n\t}\n}"
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(user(&store, "a.example:5000").as_deref(), Some("me"));
        assert_eq!(user(&store, "a.example"), None);

        let other = "{\"x\":1.50,\n \"auths\": {\n\t\t\"b.example\": {\"auth\":\"eDp5\",  \"z\":{}},\n\t\t\"https://a.example:5000/v1/\": {\"auth\":\"eDp5\"}\n\t},\n\"plugins\":{\"k\":{ }}}";
        fs::write(&path, other).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        store.save(&registry, &auth("you")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\n\t\"x\": 1.50,\n\t\"auths\": {\n\t\t\"b.example\": {\"auth\":\"eDp5\",  \"z\":{}},\n\t\t\"a.example:5000\": {\n\t\t\t\"auth\": \"eW91OnB3\"\n\t\t}\n\t},\n\t\"plugins\": {\"k\":{ }}\n}"
        );
        assert_eq!(mode(&path), 0o600);
        assert!(store.erase(&registry).unwrap());
        assert!(!store.erase(&registry).unwrap());
        assert_eq!(user(&store, "a.example:5000"), None);
        assert_eq!(user(&store, "b.example").as_deref(), Some("x"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn the_first_source_that_knows_wins() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("config")).unwrap();
        fs::create_dir_all(folder.path().join("run/containers")).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let entry = |registry: &str, pair: &str| {
            format!("{{\"auths\":{{\"{registry}\":{{\"auth\":\"{pair}\"}}}}}}")
        };
        file("run/containers/auth.json", &entry("r.example", "cnVuOng="));
        assert_eq!(user(&store(folder.path(), &[]), "r.example").as_deref(), Some("run"));
        file("config/config.json", &entry("r.example", "ZG9ja2VyOng="));
        assert_eq!(user(&store(folder.path(), &[]), "r.example").as_deref(), Some("docker"));
        let path = file("auth", &entry("r.example", "ZmlsZTp4"));
        let named = [("REGISTRY_AUTH_FILE", path.as_str())];
        assert_eq!(user(&store(folder.path(), &named), "r.example").as_deref(), Some("file"));
        let text = entry("https://r.example", "dmFyOng=");
        let all = [("REGISTRY_AUTH_FILE", path.as_str()), ("DOCKER_AUTH_CONFIG", &text)];
        let all = store(folder.path(), &all);
        assert_eq!(user(&all, "r.example").as_deref(), Some("var"));
        let wanted = Wanted::registry(RegistryKey::parse("r.example").unwrap());
        assert!(all.is_overridden(&wanted));
        // A login goes where it would be found.
        all.save(&RegistryKey::parse("s.example").unwrap(), &auth("me")).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("s.example"));
        assert!(Store::of_user(|_| None).is_err());
    }

    #[test]
    fn a_file_behind_a_link_stays_behind_it_and_a_broken_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        fs::create_dir(&config).unwrap();
        let real = folder.path().join("real.json");
        fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, config.join("config.json")).unwrap();
        let store = store(folder.path(), &[]);
        let registry = RegistryKey::hub();
        store.save(&registry, &auth("me")).unwrap();
        assert!(fs::read_to_string(&real).unwrap().contains("https://index.docker.io/v1/"));
        assert!(fs::symlink_metadata(config.join("config.json")).unwrap().is_symlink());
        fs::write(&real, "{ not json").unwrap();
        let error = store.save(&registry, &auth("me")).unwrap_err();
        assert!(format!("{error:#}").contains("cannot use"), "{error:#}");
        assert_eq!(fs::read_to_string(&real).unwrap(), "{ not json");
        assert!(store.find(&Wanted::registry(registry)).is_err());
    }
}
