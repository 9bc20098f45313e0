//! Listings: rows by table, by template, or as JSON, one object per line.

use super::table;
use crate::template::{Mode, Object, Pairs, Template, TemplateError, Value};
use anyhow::{Result, anyhow};
use std::rc::Rc;

/// What every listing knows of its rows.
#[derive(Debug)]
pub(crate) struct Columns {
    /// Go's name of the row's type, for errors.
    pub(crate) type_name: &'static str,
    /// Template of the default table, without the word `table`.
    pub(crate) table: &'static str,
    /// Fields and their titles.
    pub(crate) titles: &'static [(&'static str, &'static str)],
}

/// How a listing is printed.
#[derive(Debug)]
pub(crate) struct Format {
    template: Template,
    table: bool,
}

/// What the user asked for with `--format` and `--quiet`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    pub(crate) format: Option<&'a str>,
    pub(crate) quiet: bool,
}

impl Format {
    /// Parses what the user asked for; `columns.table` unless they said otherwise. `raw` is the
    /// template that the word stands for.
    ///
    /// # Errors
    /// What is no template.
    pub(crate) fn new(wish: Wish<'_>, columns: &Columns, raw: &str) -> Result<Self, TemplateError> {
        let (text, table) = match wish.format.unwrap_or("table") {
            "table" | "" if wish.quiet => ("{{.ID}}", false),
            "table" | "" => (columns.table, true),
            "json" => ("{{json .}}", false),
            "raw" => (raw, false),
            other => match other.strip_prefix("table") {
                Some(template) => (template, true),
                None => (other, false),
            },
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self { template: Template::parse("", &text)?, table })
    }

    /// The rows as text.
    ///
    /// # Errors
    /// A field that the rows do not have and whatever else a template can do wrong.
    pub(crate) fn render(
        &self,
        columns: &Columns,
        rows: &[Value],
    ) -> Result<String, TemplateError> {
        let mut body = String::new();
        for row in rows {
            self.template.execute(row, Mode::ROWS, &mut body)?;
            body.push('\n');
        }
        if !self.table {
            return Ok(body);
        }
        let mut text = String::new();
        // A title that cannot be made stays away, as in Docker; rows have been checked above.
        let _ = self.template.execute(&titles(columns), Mode::HEADERS, &mut text);
        text.push('\n');
        text.push_str(&body);
        Ok(table::align(&text))
    }
}

fn titles(columns: &Columns) -> Value {
    let fields = columns.titles.iter().map(|(name, title)| ((*name).into(), (*title).into()));
    Value::Object(Rc::new(Object {
        type_name: columns.type_name,
        fields: fields.collect(),
        labels: None,
        lenient: true,
        escape_html: true,
    }))
}

/// Builds one row field by field.
#[derive(Debug)]
pub(crate) struct Row(Object);

impl Row {
    /// An empty row.
    pub(crate) fn new(columns: &Columns) -> Self {
        Self(Object { type_name: columns.type_name, escape_html: true, ..Object::default() })
    }

    /// Adds a field. Fields are added in alphabetical order, which is the order of the JSON.
    pub(crate) fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.fields.push((name.into(), value.into()));
        self
    }

    /// Gives the row a `Label` method.
    pub(crate) fn labels(mut self, labels: Pairs) -> Self {
        self.0.labels = Some(labels);
        self
    }

    /// The finished row.
    pub(crate) fn build(self) -> Value {
        Value::Object(Rc::new(self.0))
    }
}

/// `--format` of listings.
pub(crate) fn argument() -> clap::Arg {
    crate::options::value(
        "format",
        None,
        "FORMAT",
        "Format output: 'table' (default), 'table TEMPLATE', 'json', or a Go template",
    )
}

/// Renders a listing, with the words Docker uses for a template that fails.
///
/// # Errors
/// Those of the template.
pub(crate) fn render(
    wish: Wish<'_>,
    columns: &Columns,
    raw: &str,
    rows: impl FnOnce(&Format) -> Vec<Value>,
) -> Result<String> {
    let failure = |error| anyhow!("template parsing error: {error}");
    let format = Format::new(wish, columns, raw).map_err(failure)?;
    let rows = rows(&format);
    format.render(columns, &rows).map_err(failure)
}
