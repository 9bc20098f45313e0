//! What is allowed and yet looks wrong: BuildKit's rules, under its names.
//!
//! Warnings come up while a file is planned. `# check=skip=A,B;error=true` at the top of a file says
//! which count, and so does the same comment directly above an instruction for that instruction.

mod rule;

use std::collections::BTreeSet;

use crate::instruction::{Dockerfile, Instruction, Stage, Statement};
use crate::{Lines, SourceError};

pub use rule::Rule;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Where.
    pub lines: Lines,
    /// Which rule.
    pub rule: Rule,
    /// What, in one line.
    pub detail: String,
}

/// What `# check=` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    skip_all: bool,
    skip: BTreeSet<String>,
    experimental_all: bool,
    experimental: BTreeSet<String>,
    /// Whether a warning fails the build.
    pub error: bool,
}

impl Checks {
    /// Reads `skip=A,B;error=true;experimental=all`.
    ///
    /// # Errors
    /// A key that there is not, or one without a value.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let mut checks = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let invalid = || SourceError::new(format_args!("invalid check option {part:?}"));
            let (key, value) = part.split_once('=').ok_or_else(invalid)?;
            let names = || value.split(',').map(|name| name.trim().to_owned());
            match key.trim() {
                "skip" if value.trim() == "all" => checks.skip_all = true,
                "skip" => checks.skip.extend(names()),
                "experimental" if value.trim() == "all" => checks.experimental_all = true,
                "experimental" => checks.experimental.extend(names()),
                "error" => {
                    checks.error = crate::mount::boolean(value.trim()).ok_or_else(invalid)?;
                }
                _ => return Err(invalid()),
            }
        }
        Ok(checks)
    }

    /// With what the comments above an instruction say. A comment that does not parse is one.
    fn with_comments(&self, comments: &[String]) -> Self {
        let mut merged = self.clone();
        for comment in comments {
            let Some(text) = comment.strip_prefix("check").map(str::trim_start) else { continue };
            let Some(Ok(own)) = text.strip_prefix('=').map(|text| Self::parse(text.trim())) else {
                continue;
            };
            merged.skip_all |= own.skip_all;
            merged.skip.extend(own.skip);
            merged.experimental_all |= own.experimental_all;
            merged.experimental.extend(own.experimental);
        }
        merged
    }

    fn wants(&self, rule: Rule) -> bool {
        let name = rule.name();
        if self.skip_all || self.skip.contains(name) {
            return false;
        }
        !rule.is_experimental() || self.experimental_all || self.experimental.contains(name)
    }
}

/// Collects findings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Linter {
    checks: Checks,
    warnings: BTreeSet<Warning>,
}

impl Linter {
    pub(crate) fn new(checks: Checks) -> Self {
        Self { checks, warnings: BTreeSet::new() }
    }

    /// Adds a finding, unless it is skipped here.
    pub(crate) fn report(&mut self, rule: Rule, lines: Lines, comments: &[String], detail: String) {
        if self.checks.with_comments(comments).wants(rule) {
            self.warnings.insert(Warning { lines, rule, detail });
        }
    }

    /// In the order of the file.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        self.warnings.iter().cloned().collect()
    }

    /// # Errors
    /// There are warnings, and the file wants them to be errors.
    pub(crate) fn verdict(&self) -> Result<(), SourceError> {
        if !self.checks.error || self.warnings.is_empty() {
            return Ok(());
        }
        let rules: BTreeSet<&str> =
            self.warnings.iter().map(|warning| warning.rule.name()).collect();
        let rules = Vec::from_iter(rules).join(", ");
        Err(SourceError::new(format_args!("lint violation found for rules: {rules}")))
    }
}

/// What can be seen without expanding anything.
pub(crate) fn report_file(file: &Dockerfile, linter: &mut Linter) {
    for lines in &file.empty_continuations {
        let detail = "Empty continuation line".to_owned();
        linter.report(Rule::NoEmptyContinuation, *lines, &[], detail);
    }
    let mut names = BTreeSet::new();
    for stage in &file.stages {
        report_stage(stage, &mut names, linter);
    }
    report_casing(file, linter);
    for statement in &file.global_args {
        report_description(statement, linter);
    }
    for statement in file.stages.iter().flat_map(|stage| &stage.statements) {
        report_description(statement, linter);
        if let Instruction::Maintainer(_) = statement.instruction {
            let detail = "Maintainer instruction is deprecated in favor of using label".to_owned();
            linter.report(Rule::MaintainerDeprecated, statement.lines, &statement.comments, detail);
        }
    }
}

fn report_stage<'a>(stage: &'a Stage, names: &mut BTreeSet<&'a str>, linter: &mut Linter) {
    let mut report = |rule, detail| linter.report(rule, stage.lines, &stage.comments, detail);
    if let (Some(written), Some(name)) = (&stage.written_name, &stage.name) {
        if written != name {
            report(Rule::StageNameCasing, format!("Stage name '{written}' should be lowercase"));
        }
        if matches!(name.as_str(), "scratch" | "context") {
            let detail =
                format!("Stage name should not use the same name as reserved stage {name:?}");
            report(Rule::ReservedStageName, detail);
        }
        if !names.insert(name) {
            let detail = format!("Duplicate stage name {name:?}, stage names should be unique");
            report(Rule::DuplicateStageName, detail);
        }
        if let Some(last) = stage.comments.last()
            && !last.starts_with("check=")
            && last.split(' ').next() != Some(written)
            && last.split(' ').next() != Some(name)
        {
            let detail =
                format!("Comment for FROM should follow the format: `# {name} <description>`");
            report(Rule::InvalidDefinitionDescription, detail);
        }
    }
    if let Some(word) = &stage.written_as {
        let from = &stage.keyword;
        let upper = from.chars().all(|letter| letter.is_ascii_uppercase());
        let lower = from.chars().all(|letter| letter.is_ascii_lowercase());
        if (upper && word != "AS") || (lower && word != "as") {
            let detail = format!("'{word}' and '{from}' keywords' casing do not match");
            report(Rule::FromAsCasing, detail);
        }
    }
}

fn report_description(statement: &Statement, linter: &mut Linter) {
    let Instruction::Arg(arguments) = &statement.instruction else { return };
    let Some(last) = statement.comments.last() else { return };
    let first = last.split(' ').next().unwrap_or_default();
    if last.starts_with("check=") || arguments.iter().any(|argument| argument.name == first) {
        return;
    }
    let name = match arguments.as_slice() {
        [one] => one.name.as_str(),
        _ => "<arg_key>",
    };
    let detail = format!("Comment for ARG should follow the format: `# {name} <description>`");
    linter.report(Rule::InvalidDefinitionDescription, statement.lines, &statement.comments, detail);
}

/// Keywords that are not cased as most of them are.
fn report_casing(file: &Dockerfile, linter: &mut Linter) {
    let mut keywords: Vec<(&str, Lines, &[String])> = Vec::new();
    for stage in &file.stages {
        keywords.push((&stage.keyword, stage.lines, &stage.comments));
        for statement in &stage.statements {
            keywords.push((&statement.keyword, statement.lines, &statement.comments));
        }
    }
    let is =
        |word: &str, lower: bool| word.chars().all(|letter| letter.is_ascii_lowercase() == lower);
    let count = |lower| keywords.iter().filter(|(word, ..)| is(word, lower)).count();
    let mostly_lower = count(true) > count(false);
    let casing = if mostly_lower { "lowercase" } else { "uppercase" };
    for (word, lines, comments) in keywords {
        if !is(word, mostly_lower) {
            let detail = format!(
                "Command '{word}' should match the case of the command majority ({casing})"
            );
            linter.report(Rule::ConsistentInstructionCasing, lines, comments, detail);
        }
    }
}

#[cfg(test)]
mod tests;
