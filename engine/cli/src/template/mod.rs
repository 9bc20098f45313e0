//! Templates as users write them for `--format`: the language of Go's `text/template`.
//!
//! A template is parsed once and executed on one [`Value`] per row. Words, results and error
//! messages are Go's, so that what works with `docker --format` works here. Left out: named
//! templates (`define`, `template`, `block`), complex numbers, and the functions `html`, `js`,
//! `urlquery` and `call`.

mod execute;
mod functions;
mod lex;
mod node;
mod parse;
mod printf;
mod value;

pub(crate) use lex::quote;

pub(crate) use execute::Mode;
pub(crate) use value::{NullKind, Object, Pairs, Value};

use node::Node;

/// Why a template did not parse or could not be executed, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateError(pub(crate) String);

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    text: String,
    nodes: Vec<Node>,
}

impl Template {
    /// Parses `text`; `name` is only used in error messages and may be empty.
    ///
    /// # Errors
    /// The first thing that is no template, with its line.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let nodes = parse::parse(name, text)?;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), nodes })
    }

    /// Executes the template with `dot` and appends what it prints to `out`.
    ///
    /// # Errors
    /// The first action that cannot be evaluated; what was printed before it stays in `out`.
    pub(crate) fn execute(
        &self,
        dot: &Value,
        mode: Mode,
        out: &mut String,
    ) -> Result<(), TemplateError> {
        execute::execute(&self.name, &self.text, &self.nodes, dot, mode, out)
    }
}

#[cfg(test)]
mod tests;
