//! The parsed form of a template, and how it is written in error messages.

use super::value::Value;
use std::fmt;

/// One piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
}

/// A control structure.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each fed with the result of the one before.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipeline {
    /// Variables that take the result; two only in `range`.
    pub(super) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) assign: bool,
    pub(super) commands: Vec<Command>,
}

/// A function, method or value with its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

/// A word of a command with its place in the template (bytes).
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) position: usize,
    pub(super) kind: OperandKind,
}

/// What a word is.
#[derive(Debug, Clone)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    /// A literal, as it was written.
    Literal(Value, String),
    Function(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`; the first is the variable with its dollar.
    Variable(Vec<String>),
    Parenthesis(Box<Pipeline>),
    /// `(...).A.B`
    Chain(Box<Operand>, Vec<String>),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Literal(_, written) => f.write_str(written),
            OperandKind::Function(name) => f.write_str(name),
            OperandKind::Field(names) => names.iter().try_for_each(|name| write!(f, ".{name}")),
            OperandKind::Variable(names) => f.write_str(&names.join(".")),
            OperandKind::Parenthesis(pipeline) => write!(f, "({pipeline})"),
            OperandKind::Chain(inner, names) => {
                write!(f, "{inner}")?;
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, operand) in self.operands.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{operand}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assign { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}
