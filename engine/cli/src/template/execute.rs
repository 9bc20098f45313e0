//! Runs a parsed template.

use super::TemplateError;
use super::functions::{self, Call, Kind};
use super::lex::quote;
use super::node::{Branch, Command, Node, Operand, OperandKind, Pipeline};
use super::value::{NullKind, Object, Value};
use std::fmt::Write as _;

/// What a key does that a map does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingKey {
    /// It is nothing and prints as `<no value>`.
    Nothing,
    /// It is an error.
    Error,
}

/// How a template is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) missing_key: MissingKey,
    /// Docker's string functions give back what they get: titles of columns stay as they are.
    pub(crate) headers: bool,
    /// What a key has that the engine leaves out when it is empty.
    pub(crate) left_out: fn(&str) -> Option<Value>,
}

fn nothing_left_out(_: &str) -> Option<Value> {
    None
}

impl Mode {
    /// Rows of listings.
    pub(crate) const ROWS: Self =
        Self { missing_key: MissingKey::Nothing, headers: false, left_out: nothing_left_out };
    /// The titles above them.
    pub(crate) const HEADERS: Self = Self { headers: true, ..Self::ROWS };
    /// Objects as the engine sent them.
    pub(crate) const INSPECT: Self = Self { missing_key: MissingKey::Error, ..Self::ROWS };
}

type Result<T, E = TemplateError> = std::result::Result<T, E>;

pub(super) fn execute(
    name: &str,
    text: &str,
    nodes: &[Node],
    dot: &Value,
    mode: Mode,
    out: &mut String,
) -> Result<()> {
    let variables = vec![("$".to_owned(), dot.clone())];
    let mut state = State { name, text, mode, variables, out };
    state.walk(dot, nodes).map(|_| ())
}

struct State<'a> {
    name: &'a str,
    text: &'a str,
    mode: Mode,
    variables: Vec<(String, Value)>,
    out: &'a mut String,
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// The place an error is reported at.
struct Place<'p> {
    position: usize,
    shown: &'p dyn std::fmt::Display,
}

impl<'p> From<&'p Operand> for Place<'p> {
    fn from(operand: &'p Operand) -> Self {
        Self { position: operand.position, shown: operand }
    }
}

impl<'p> From<&'p Command> for Place<'p> {
    fn from(command: &'p Command) -> Self {
        Self { position: command.operands[0].position, shown: command }
    }
}

impl<'p> From<&'p Pipeline> for Place<'p> {
    fn from(pipeline: &'p Pipeline) -> Self {
        Self { position: pipeline.commands[0].operands[0].position, shown: pipeline }
    }
}

impl State<'_> {
    fn error<'p, T>(
        &self,
        place: impl Into<Place<'p>>,
        message: impl std::fmt::Display,
    ) -> Result<T> {
        let Place { position, shown } = place.into();
        let before = &self.text[..position];
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(position, |newline| position - newline - 1);
        Err(TemplateError(format!(
            "template: {}:{line}:{column}: executing {} at <{shown}>: {message}",
            self.name,
            quote(self.name),
        )))
    }

    fn walk(&mut self, dot: &Value, nodes: &[Node]) -> Result<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(dot, pipeline)?;
                    if pipeline.variables.is_empty() {
                        // Writing to a string does not fail.
                        let _ = write!(self.out, "{value}");
                    }
                }
                Node::If(branch) => {
                    let flow = self.branch(dot, branch, false)?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::With(branch) => {
                    let flow = self.branch(dot, branch, true)?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => {
                    let flow = self.range(dot, branch)?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn branch(&mut self, dot: &Value, branch: &Branch, with: bool) -> Result<Flow> {
        let known = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let flow = if value.truth() {
            self.walk(if with { &value } else { dot }, &branch.body)
        } else {
            self.walk(dot, &branch.otherwise)
        };
        self.variables.truncate(known);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &Branch) -> Result<Flow> {
        let known = self.variables.len();
        let pipeline = &branch.pipeline;
        let value = self.commands(dot, pipeline)?;
        let pairs: Vec<(Value, Value)> = match &value {
            Value::None | Value::Null(_) => Vec::new(),
            Value::Int(_) if pipeline.variables.len() > 1 => {
                let message =
                    format_args!("can't use {value} to iterate over more than one variable");
                return self.error(pipeline, message);
            }
            Value::Int(count) => (0..*count).map(|n| (Value::None, Value::Int(n))).collect(),
            Value::List(items) => {
                (0i64..).zip(items.iter()).map(|(n, item)| (Value::Int(n), item.clone())).collect()
            }
            Value::Map(pairs) => {
                let mut pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| (Value::String(key.clone()), value.clone()))
                    .collect();
                pairs.sort_by_key(|(key, _)| key.to_string());
                pairs
            }
            _ => return self.error(pipeline, format_args!("range can't iterate over {value}")),
        };
        let empty = pairs.is_empty();
        for (index, element) in pairs {
            self.loop_variables(pipeline, index, &element);
            let mark = self.variables.len();
            let flow = self.walk(&element, &branch.body)?;
            self.variables.truncate(if pipeline.assign { mark } else { known });
            if flow == Flow::Break {
                break;
            }
        }
        let flow = if empty { self.walk(dot, &branch.otherwise)? } else { Flow::On };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn loop_variables(&mut self, pipeline: &Pipeline, index: Value, element: &Value) {
        match pipeline.variables.as_slice() {
            [] => {}
            [only] => self.set(only, element.clone(), pipeline.assign),
            [first, second, ..] => {
                self.set(first, index, pipeline.assign);
                self.set(second, element.clone(), pipeline.assign);
            }
        }
    }

    fn set(&mut self, name: &str, value: Value, assign: bool) {
        if assign && let Some(slot) = self.variables.iter_mut().rfind(|(known, _)| known == name) {
            slot.1 = value;
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    fn pipeline(&mut self, dot: &Value, pipeline: &Pipeline) -> Result<Value> {
        let value = self.commands(dot, pipeline)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.assign);
        }
        Ok(value)
    }

    fn commands(&mut self, dot: &Value, pipeline: &Pipeline) -> Result<Value> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(dot, command, last)?);
        }
        Ok(last.unwrap_or(Value::None))
    }

    fn command(&mut self, dot: &Value, command: &Command, last: Option<Value>) -> Result<Value> {
        let (first, arguments) = command.operands.split_first().expect("a command has a word");
        match &first.kind {
            OperandKind::Field(names) => {
                self.fields(dot, dot.clone(), first, names, arguments, last)
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(dot, inner)?;
                self.fields(dot, value, first, names, arguments, last)
            }
            OperandKind::Variable(names) if names.len() > 1 => {
                let value = self.variable(&names[0]);
                self.fields(dot, value, first, &names[1..], arguments, last)
            }
            OperandKind::Function(name) => {
                self.call(dot, first, command.into(), name, arguments, last)
            }
            _ if !arguments.is_empty() || last.is_some() => {
                self.error(first, format_args!("can't give argument to non-function {first}"))
            }
            OperandKind::Nil => self.error(first, "nil is not a command"),
            _ => self.operand(dot, first),
        }
    }

    fn operand(&mut self, dot: &Value, operand: &Operand) -> Result<Value> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Value::Null(NullKind::Pointer)),
            OperandKind::Literal(value, _) => Ok(value.clone()),
            OperandKind::Parenthesis(pipeline) => self.pipeline(dot, pipeline),
            OperandKind::Function(name) => self.call(dot, operand, operand.into(), name, &[], None),
            OperandKind::Field(names) => self.fields(dot, dot.clone(), operand, names, &[], None),
            OperandKind::Variable(names) => {
                let value = self.variable(&names[0]);
                self.fields(dot, value, operand, &names[1..], &[], None)
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(dot, inner)?;
                self.fields(dot, value, operand, names, &[], None)
            }
        }
    }

    fn variable(&self, name: &str) -> Value {
        // The parser refuses names that were never declared.
        let found = self.variables.iter().rfind(|(known, _)| known == name);
        found.map_or(Value::None, |(_, value)| value.clone())
    }

    fn fields(
        &mut self,
        dot: &Value,
        mut value: Value,
        place: &Operand,
        names: &[String],
        arguments: &[Operand],
        mut last: Option<Value>,
    ) -> Result<Value> {
        for (index, name) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            let given = if is_last { (arguments, last.take()) } else { (&[][..], None) };
            value = self.field(dot, &value, place, name, given)?;
        }
        Ok(value)
    }

    fn field(
        &mut self,
        dot: &Value,
        value: &Value,
        place: &Operand,
        name: &str,
        (arguments, last): (&[Operand], Option<Value>),
    ) -> Result<Value> {
        let has_arguments = !arguments.is_empty() || last.is_some();
        match value {
            Value::None if self.mode.missing_key == MissingKey::Error => {
                self.error(place, format_args!("nil data; no entry for key {}", quote(name)))
            }
            Value::None => Ok(Value::None),
            Value::Null(_) => {
                let message = format_args!("nil pointer evaluating {}.{name}", value.type_name());
                self.error(place, message)
            }
            Value::Map(pairs) => {
                if has_arguments {
                    let message = format_args!("{name} is not a method but has arguments");
                    return self.error(place, message);
                }
                match pairs.iter().find(|(key, _)| &**key == name) {
                    Some((_, value)) => Ok(value.clone()),
                    None if self.mode.missing_key == MissingKey::Nothing => Ok(Value::None),
                    None => {
                        self.error(place, format_args!("map has no entry for key {}", quote(name)))
                    }
                }
            }
            Value::Object(object) => {
                if name == "Label" && (object.labels.is_some() || object.lenient) {
                    return self.label(dot, object, place, arguments, last);
                }
                match object.field(name) {
                    Some(_) if has_arguments => self.error(
                        place,
                        format_args!("{name} has arguments but cannot be invoked as function"),
                    ),
                    Some(value) => Ok(value.clone()),
                    None if object.lenient => Ok(Value::None),
                    None if object.type_name.is_empty() => match (self.mode.left_out)(name) {
                        Some(value) => Ok(value),
                        None => self
                            .error(place, format_args!("map has no entry for key {}", quote(name))),
                    },
                    None => self.error(
                        place,
                        format_args!("can't evaluate field {name} in type {}", object.type_name),
                    ),
                }
            }
            _ => self.error(
                place,
                format_args!("can't evaluate field {name} in type {}", value.type_name()),
            ),
        }
    }

    /// `.Label "name"`: the label's value, or as a title the name itself.
    fn label(
        &mut self,
        dot: &Value,
        object: &Object,
        place: &Operand,
        arguments: &[Operand],
        last: Option<Value>,
    ) -> Result<Value> {
        let call = Call { name: "Label", fixed: &[Kind::String], rest: None };
        let given = self.arguments(dot, place, &call, arguments, last)?;
        let wanted = given[0].to_string();
        let Some(labels) = &object.labels else {
            // Docker's title: the part behind the last dot, with spaces for dashes.
            let short = wanted.rsplit('.').next().unwrap_or_default();
            return Ok(short.replace(['-', '_'], " ").into());
        };
        let found = labels.iter().find(|(key, _)| **key == *wanted);
        Ok(found.map_or_else(|| "".into(), |(_, value)| value.clone()))
    }

    fn call(
        &mut self,
        dot: &Value,
        place: &Operand,
        whole: Place<'_>,
        name: &str,
        arguments: &[Operand],
        last: Option<Value>,
    ) -> Result<Value> {
        let call = functions::signature(name, self.mode.headers);
        if matches!(name, "and" | "or") {
            return self.short_circuit(dot, place, &call, arguments, last);
        }
        let given = self.arguments(dot, place, &call, arguments, last)?;
        match functions::call(name, self.mode.headers, &given) {
            Ok(value) => Ok(value),
            Err(message) => self.error(whole, format_args!("error calling {name}: {message}")),
        }
    }

    /// `and` gives its first empty argument, `or` its first that is not, and neither looks
    /// further.
    fn short_circuit(
        &mut self,
        dot: &Value,
        place: &Operand,
        call: &Call,
        arguments: &[Operand],
        last: Option<Value>,
    ) -> Result<Value> {
        if arguments.is_empty() && last.is_none() {
            let name = call.name;
            let message = format_args!("wrong number of args for {name}: want at least 1 got 0");
            return self.error(place, message);
        }
        let mut value = Value::None;
        for argument in arguments {
            value = self.operand(dot, argument)?;
            if value.truth() == (call.name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn arguments(
        &mut self,
        dot: &Value,
        place: &Operand,
        call: &Call,
        operands: &[Operand],
        last: Option<Value>,
    ) -> Result<Vec<Value>> {
        let count = operands.len() + usize::from(last.is_some());
        let want = call.fixed.len();
        let name = call.name;
        if call.rest.is_none() && count != want {
            let message = format_args!("wrong number of args for {name}: want {want} got {count}");
            return self.error(place, message);
        }
        if count < want {
            let message =
                format_args!("wrong number of args for {name}: want at least {want} got {count}");
            return self.error(place, message);
        }
        let kind =
            |index: usize| call.fixed.get(index).copied().or(call.rest).expect("counted above");
        let mut given = Vec::with_capacity(count);
        for (index, operand) in operands.iter().enumerate() {
            given.push(self.argument(dot, operand, kind(index))?);
        }
        if let Some(last) = last {
            let last = self.checked(place, last, kind(operands.len()))?;
            given.push(last);
        }
        Ok(given)
    }

    fn argument(&mut self, dot: &Value, operand: &Operand, kind: Kind) -> Result<Value> {
        let value = self.operand(dot, operand)?;
        match (&operand.kind, kind) {
            (OperandKind::Nil, Kind::String | Kind::Int) => {
                self.error(operand, format_args!("cannot assign nil to {}", kind.type_name()))
            }
            (OperandKind::Literal(value, _), Kind::String)
                if !matches!(value, Value::String(_)) =>
            {
                self.error(operand, format_args!("expected string; found {operand}"))
            }
            (OperandKind::Literal(value, _), Kind::Int) if !matches!(value, Value::Int(_)) => {
                self.error(operand, format_args!("expected integer; found {operand}"))
            }
            (OperandKind::Literal(..), Kind::Strings) => {
                self.error(operand, format_args!("can't handle {operand} for arg of type []string"))
            }
            _ => self.checked(operand, value, kind),
        }
    }

    fn checked(&self, place: &Operand, value: Value, kind: Kind) -> Result<Value> {
        let fits = match kind {
            Kind::Any => true,
            Kind::String => matches!(value, Value::String(_)),
            Kind::Int => matches!(value, Value::Int(_)),
            Kind::Strings => {
                matches!(value, Value::Null(NullKind::List)) || value.type_name() == "[]string"
            }
        };
        if fits {
            return Ok(value);
        }
        let want = kind.type_name();
        if value == Value::None {
            return self.error(place, format_args!("invalid value; expected {want}"));
        }
        let got = value.type_name();
        self.error(place, format_args!("wrong type for value; expected {want}; got {got}"))
    }
}
