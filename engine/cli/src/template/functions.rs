//! The functions a template may call: Go's own and Docker's.

use super::printf;
use super::value::{NullKind, Value};
use std::cmp::Ordering;

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    String,
    Int,
    Strings,
}

impl Kind {
    /// Go's name.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::String => "string",
            Self::Int => "int",
            Self::Strings => "[]string",
        }
    }
}

/// A function's parameters.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) fixed: &'static [Kind],
    /// What further arguments are, where there may be any.
    pub(super) rest: Option<Kind>,
}

const SIGNATURES: &[Call] = &[
    Call { name: "and", fixed: &[Kind::Any], rest: Some(Kind::Any) },
    Call { name: "or", fixed: &[Kind::Any], rest: Some(Kind::Any) },
    Call { name: "not", fixed: &[Kind::Any], rest: None },
    Call { name: "len", fixed: &[Kind::Any], rest: None },
    Call { name: "index", fixed: &[Kind::Any], rest: Some(Kind::Any) },
    Call { name: "slice", fixed: &[Kind::Any], rest: Some(Kind::Any) },
    Call { name: "print", fixed: &[], rest: Some(Kind::Any) },
    Call { name: "println", fixed: &[], rest: Some(Kind::Any) },
    Call { name: "printf", fixed: &[Kind::String], rest: Some(Kind::Any) },
    Call { name: "eq", fixed: &[Kind::Any], rest: Some(Kind::Any) },
    Call { name: "ne", fixed: &[Kind::Any, Kind::Any], rest: None },
    Call { name: "lt", fixed: &[Kind::Any, Kind::Any], rest: None },
    Call { name: "le", fixed: &[Kind::Any, Kind::Any], rest: None },
    Call { name: "gt", fixed: &[Kind::Any, Kind::Any], rest: None },
    Call { name: "ge", fixed: &[Kind::Any, Kind::Any], rest: None },
    Call { name: "json", fixed: &[Kind::Any], rest: None },
    Call { name: "split", fixed: &[Kind::String, Kind::String], rest: None },
    Call { name: "join", fixed: &[Kind::Strings, Kind::String], rest: None },
    Call { name: "title", fixed: &[Kind::String], rest: None },
    Call { name: "lower", fixed: &[Kind::String], rest: None },
    Call { name: "upper", fixed: &[Kind::String], rest: None },
    Call { name: "pad", fixed: &[Kind::String, Kind::Int, Kind::Int], rest: None },
    Call { name: "truncate", fixed: &[Kind::String, Kind::Int], rest: None },
];

/// Whether a template may call `name`.
pub(super) fn exists(name: &str) -> bool {
    SIGNATURES.iter().any(|call| call.name == name)
}

/// The parameters of `name`, which [`exists`]. A title may be missing, so with `headers`
/// everything goes.
pub(super) fn signature(name: &str, headers: bool) -> Call {
    let known = SIGNATURES.iter().find(|call| call.name == name);
    let Call { name, fixed, rest } = *known.expect("the parser knows the functions");
    if headers && is_text_function(name) {
        return Call { name, fixed: &[Kind::Any], rest: Some(Kind::Any) };
    }
    Call { name, fixed, rest }
}

fn is_text_function(name: &str) -> bool {
    matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate")
}

/// Calls `name` with arguments that fit its [`signature`].
///
/// # Errors
/// Go's message without the function's name.
pub(super) fn call(name: &str, headers: bool, arguments: &[Value]) -> Result<Value, String> {
    if headers && is_text_function(name) {
        return Ok(arguments[0].clone());
    }
    let text = |index: usize| arguments[index].to_string();
    let number = |index: usize| match &arguments[index] {
        Value::Int(value) => *value,
        _ => 0,
    };
    Ok(match name {
        "not" => Value::Bool(!arguments[0].truth()),
        "len" => Value::Int(length(&arguments[0])?),
        "index" => index(arguments)?,
        "slice" => slice(arguments)?,
        "print" => printf::print(arguments).into(),
        "println" => printf::println(arguments).into(),
        "printf" => printf::printf(&text(0), &arguments[1..]).into(),
        "eq" => Value::Bool(equal(arguments)?),
        "ne" => Value::Bool(!equal(arguments)?),
        "lt" => Value::Bool(less(arguments)?),
        "le" => Value::Bool(less(arguments)? || equal(arguments)?),
        "gt" => Value::Bool(!(less(arguments)? || equal(arguments)?)),
        "ge" => Value::Bool(!less(arguments)?),
        "json" => arguments[0].to_json().into(),
        "split" => split(&text(0), &text(1)),
        "join" => match &arguments[0] {
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                items.join(&text(1)).into()
            }
            _ => "".into(),
        },
        "title" => title(&text(0)).into(),
        "lower" => text(0).to_lowercase().into(),
        "upper" => text(0).to_uppercase().into(),
        "pad" => pad(&text(0), number(1), number(2))?.into(),
        "truncate" => truncate(text(0), number(1))?.into(),
        _ => Value::None,
    })
}

fn length(value: &Value) -> Result<i64, String> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(pairs) => pairs.len(),
        Value::Null(NullKind::List | NullKind::Map) => 0,
        Value::None | Value::Null(_) => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(i64::try_from(length).unwrap_or(i64::MAX))
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let mut item = arguments[0].clone();
    for wanted in &arguments[1..] {
        item = match &item {
            Value::None | Value::Null(NullKind::Pointer) => {
                return Err("index of untyped nil".to_owned());
            }
            Value::List(items) => {
                let place = position(wanted, items.len())?;
                items.get(place).cloned().ok_or_else(|| out_of_range(place))?
            }
            Value::Null(NullKind::List) => return Err(out_of_range(position(wanted, 0)?)),
            Value::String(text) => {
                let place = position(wanted, text.len())?;
                let byte = text.as_bytes().get(place).ok_or_else(|| out_of_range(place))?;
                Value::Int(i64::from(*byte))
            }
            Value::Map(pairs) => {
                let Value::String(key) = wanted else {
                    let got = wanted.type_name();
                    return Err(format!("value has type {got}; should be string"));
                };
                let found = pairs.iter().find(|(name, _)| name == key);
                found.map_or(Value::None, |(_, value)| value.clone())
            }
            Value::Null(NullKind::Map) => Value::None,
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

fn out_of_range(place: usize) -> String {
    format!("index out of range: {place}")
}

/// An index that may be `0..=length`.
fn position(wanted: &Value, length: usize) -> Result<usize, String> {
    match wanted {
        Value::Int(number) => match usize::try_from(*number) {
            Ok(place) if place <= length => Ok(place),
            _ => Err(format!("index out of range: {number}")),
        },
        Value::None | Value::Null(_) => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let (item, places) = (&arguments[0], &arguments[1..]);
    if places.len() > 3 {
        return Err(format!("too many slice indexes: {}", places.len()));
    }
    let length = match item {
        Value::String(_) if places.len() == 3 => {
            return Err("cannot 3-index slice a string".to_owned());
        }
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Null(NullKind::List) => 0,
        Value::None | Value::Null(_) => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let mut bounds = [0, length];
    for (bound, wanted) in bounds.iter_mut().zip(places) {
        *bound = position(wanted, length)?;
    }
    let [start, end] = bounds;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match item {
        Value::String(text) => {
            String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned().into()
        }
        Value::List(items) => Value::List(items[start..end].into()),
        other => other.clone(),
    })
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

/// Whether the first argument equals any of the others.
fn equal(arguments: &[Value]) -> Result<bool, String> {
    let (first, others) = arguments.split_first().expect("one argument is fixed");
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        let same = match (first, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            #[expect(clippy::float_cmp, reason = "what Go does")]
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::None | Value::Null(_), Value::None | Value::Null(_)) => true,
            (Value::None | Value::Null(_), _) | (_, Value::None | Value::Null(_)) => false,
            (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => {
                let kind = first.type_name();
                return Err(format!("non-comparable type {other}: {kind}"));
            }
            (a, b) => return Err(incompatible(a, b)),
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn less(arguments: &[Value]) -> Result<bool, String> {
    let order = match (&arguments[0], &arguments[1]) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => {
            let basic = |value: &Value| {
                matches!(value, Value::Int(_) | Value::Float(_) | Value::String(_) | Value::Bool(_))
            };
            let both_bool = matches!((a, b), (Value::Bool(_), Value::Bool(_)));
            if both_bool || !basic(a) || !basic(b) {
                return Err("invalid type for comparison".to_owned());
            }
            return Err(incompatible(a, b));
        }
    };
    Ok(order == Some(Ordering::Less))
}

fn split(text: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return Value::List(text.chars().map(|c| c.to_string().into()).collect());
    }
    Value::List(text.split(separator).map(Value::from).collect())
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        start = !(c.is_alphanumeric() || c == '_' || c == '\'');
    }
    out
}

/// The widest padding anybody needs; what is above it is refused.
const MAX_PADDING: i64 = 1 << 16;

fn pad(text: &str, before: i64, after: i64) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let spaces = |count: i64| match usize::try_from(count) {
        Ok(count) if count <= (1 << 16) => Ok(" ".repeat(count)),
        Ok(_) => Err(format!("padding is limited to {MAX_PADDING}")),
        Err(_) => Err("strings: negative Repeat count".to_owned()),
    };
    Ok(spaces(before)? + text + &spaces(after)?)
}

fn truncate(mut text: String, length: i64) -> Result<String, String> {
    let Ok(length) = usize::try_from(length) else {
        return Err(format!("runtime error: slice bounds out of range [:{length}]"));
    };
    if text.len() < length {
        return Ok(text);
    }
    let mut end = length;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    Ok(text)
}
