//! Credentials for registries: where people keep them, and which belong to which registry.
//!
//! They are read here and nowhere else, and sent to the engine with one request. What is read:
//! `DOCKER_AUTH_CONFIG`, `REGISTRY_AUTH_FILE`, Docker's `config.json` with its helpers, Podman's
//! `auth.json`; in this order, the first that knows the registry. Pure parts: [`key`] (which
//! registry a text names), [`document`] (the files' JSON, changed without touching what is not
//! ours), [`entry`] (what one of them knows), [`helper`]'s protocol. [`store`] does the I/O.
//!
//! Invariant: credentials are used for the registry they were stored for, by its exact host and
//! port, and for nothing below or beside it (CVE-2021-41092, CVE-2020-15157).

mod document;
mod entry;
mod helper;
mod key;
mod store;

pub(crate) use key::{RegistryKey, Wanted};
pub(crate) use store::{Saved, Store};

/// What `tests/fuzz` asks of the parsers here.
pub(crate) mod fuzz {
    use super::document::Document;
    use super::{RegistryKey, Wanted, entry};

    /// Whether a file has credentials for a repository, or a helper that may have.
    ///
    /// # Errors
    /// The text of the refusal.
    pub fn credentials(text: &str, registry: &str, repository: &str) -> Result<bool, String> {
        let registry = RegistryKey::parse(registry).ok_or("no registry")?;
        let wanted = Wanted { registry, repository: repository.to_owned() };
        match entry::find(text, &wanted, true) {
            Ok(found) => Ok(found != entry::Found::Nothing),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes a file anew: members that nobody changed are as they were.
    ///
    /// # Panics
    /// They are not.
    pub fn rewrite(text: &str) {
        let Ok(before) = Document::parse(text) else { return };
        let mut after = before.clone();
        after.set("auths", "{}".to_owned()).expect("it is JSON");
        let written = after.to_text(0);
        let after = Document::parse(&written).expect("what we write we read");
        assert_eq!(after.get("auths"), Some("{}"), "{written}");
        let others = |document: &Document| -> Vec<(String, String)> {
            let members = document.members().filter(|(name, _)| *name != "auths");
            members.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
        };
        assert_eq!(others(&before), others(&after), "{written}");
    }
}
