//! `--filter`.

use crate::options;
use anyhow::{Result, bail};
use clap::{Arg, ArgMatches};
use std::collections::BTreeMap;

/// The option.
pub(crate) fn argument() -> Arg {
    long().short('f')
}

/// The option where `-f` means something else.
pub(crate) fn long() -> Arg {
    options::list("filter", None, "NAME=VALUE", "Filter output based on conditions provided")
}

/// The filters as the API takes them, `{"name":{"value":true}}`; `None` without any.
///
/// # Errors
/// A filter without `=`.
pub(crate) fn query(matches: &ArgMatches) -> Result<Option<String>> {
    let mut filters: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for text in options::texts(matches, "filter") {
        let Some((name, value)) = text.split_once('=') else {
            bail!(
                "invalid argument {text:?} for \"-f, --filter\" flag: bad format of filter \
                 (expected name=value)"
            );
        };
        let values = filters.entry(name.trim().to_lowercase()).or_default();
        values.insert(value.trim().to_owned(), true);
    }
    Ok(if filters.is_empty() { None } else { Some(serde_json::to_string(&filters)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    #[test]
    fn filters_are_sets_by_name() {
        let parse = |words: &[&str]| {
            let command = Command::new("x").arg(argument()).no_binary_name(true);
            query(&command.get_matches_from(words))
        };
        assert_eq!(parse(&[]).unwrap(), None);
        assert_eq!(
            parse(&["-f", "Name = web", "--filter=label=a=b", "-f", "name=x"]).unwrap().as_deref(),
            Some(r#"{"label":{"a=b":true},"name":{"web":true,"x":true}}"#)
        );
        assert!(parse(&["-f", "bogus"]).unwrap_err().to_string().contains("bad format of filter"));
    }
}
