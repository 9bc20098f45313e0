//! What goes to standard output: tables, templates, sizes and times, in Docker's form.

pub(crate) mod filters;
pub(crate) mod listing;
pub(crate) mod object;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod units;
