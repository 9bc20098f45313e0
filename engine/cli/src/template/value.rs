//! Values a template works on.
//!
//! Two sources: rows of listings, built field by field ([`Object`]), and JSON as the engine
//! sent it. JSON keeps the order of its keys, because a struct printed by Go shows its fields
//! in declaration order and without names.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use std::fmt;
use std::rc::Rc;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing at all: a missing key. Prints as `<no value>`.
    None,
    /// JSON's `null`, by what Go would have had there.
    Null(NullKind),
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Rc<str>),
    List(Rc<[Value]>),
    /// Names in no particular order; prints as `map[a:1 b:2]`, sorted.
    Map(Pairs),
    /// Named fields of a fixed set; prints as `{1 2}`.
    Object(Rc<Object>),
}

/// Names and their values.
pub(crate) type Pairs = Rc<[(Rc<str>, Value)]>;

/// What a `null` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NullKind {
    /// A pointer: prints as `<nil>`.
    Pointer,
    /// An empty list: prints as `[]`.
    List,
    /// An empty map: prints as `map[]`.
    Map,
}

/// A struct: fields in order, and the labels its `Label` method looks into.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Object {
    /// Go's name of the type, for error messages; empty for objects the engine sent.
    pub(crate) type_name: &'static str,
    /// Fields in declaration order.
    pub(crate) fields: Vec<(Rc<str>, Value)>,
    /// What `.Label "name"` answers from; `None` where there is no such method.
    pub(crate) labels: Option<Pairs>,
    /// A field that is missing is nothing, not an error (headers of tables).
    pub(crate) lenient: bool,
    /// Written as JSON with `<`, `>` and `&` escaped, as Go's rows are.
    pub(crate) escape_html: bool,
}

impl Object {
    /// The field `name`.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl Value {
    /// Whether `if` takes its first branch.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::None | Self::Null(_) => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(pairs) => !pairs.is_empty(),
            Self::Object(_) => true,
        }
    }

    /// Go's name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::None => "<nil>",
            Self::Null(NullKind::Pointer) => "interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::List(items) if items.iter().all(|item| matches!(item, Self::String(_))) => {
                "[]string"
            }
            Self::Null(NullKind::List) | Self::List(_) => "[]interface {}",
            Self::Null(NullKind::Map) | Self::Map(_) => "map[string]interface {}",
            Self::Object(object) => object.type_name,
        }
    }

    /// As JSON, on one line.
    pub(crate) fn to_json(&self) -> String {
        // Serialization of these types cannot fail: keys are strings.
        let text = serde_json::to_string(self).unwrap_or_default();
        if matches!(self, Self::Object(object) if object.escape_html) {
            escape(&text)
        } else {
            text
        }
    }
}

/// Escapes what Go's encoder escapes for HTML. The characters occur only inside strings.
fn escape(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("<no value>"),
            Self::Null(NullKind::Pointer) => f.write_str("<nil>"),
            Self::Null(NullKind::List) => f.write_str("[]"),
            Self::Null(NullKind::Map) => f.write_str("map[]"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => f.write_str(&super::printf::general(*value)),
            Self::String(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                separated(f, items.iter())?;
                f.write_str("]")
            }
            Self::Map(pairs) => {
                let mut sorted: Vec<_> = pairs.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                f.write_str("map[")?;
                for (index, (key, value)) in sorted.into_iter().enumerate() {
                    if index > 0 {
                        f.write_str(" ")?;
                    }
                    write!(f, "{key}:{value}")?;
                }
                f.write_str("]")
            }
            Self::Object(object) => {
                f.write_str("{")?;
                separated(f, object.fields.iter().map(|(_, value)| value))?;
                f.write_str("}")
            }
        }
    }
}

fn separated<'a>(
    f: &mut fmt::Formatter<'_>,
    values: impl Iterator<Item = &'a Value>,
) -> fmt::Result {
    for (index, value) in values.enumerate() {
        if index > 0 {
            f.write_str(" ")?;
        }
        write!(f, "{value}")?;
    }
    Ok(())
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None | Self::Null(_) => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::String(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Map(pairs) => serialize_pairs(pairs, serializer),
            Self::Object(object) => serialize_pairs(&object.fields, serializer),
        }
    }
}

fn serialize_pairs<S: Serializer>(
    pairs: &[(Rc<str>, Value)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    for (key, value) in pairs {
        map.serialize_entry(&**key, value)?;
    }
    map.end()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null(NullKind::Pointer))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Int(i64::MAX), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            pairs.push((key.into(), value));
        }
        Ok(Value::Map(pairs.into()))
    }
}
