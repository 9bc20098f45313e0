//! Objects as the engine sent them, for `inspect`: indented, or through a template.
//!
//! A template sees what Docker's sees, whose client knows the type of every field: objects print
//! like structs and maps like maps, `null` like an empty list, map or pointer, and what the
//! engine leaves out because it is empty is there.

use crate::template::{Mode, NullKind, Object, Template, Value};
use anyhow::{Result, anyhow};
use std::rc::Rc;

/// Keys whose value has names of the user's choice.
const MAPS: &[&str] = &[
    "Annotations",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
    "Details",
];

/// Keys whose `null` is a missing value rather than an empty list.
const POINTERS: &[&str] = &[
    "ArgsEscaped",
    "ClientInfo",
    "Health",
    "Healthcheck",
    "HealthCheck",
    "IPAMConfig",
    "Init",
    "MemorySwappiness",
    "NetworkSettings",
    "OomKillDisable",
    "PidsLimit",
    "Platform",
    "Server",
    "SizeRootFs",
    "SizeRw",
    "StopTimeout",
    "UsageData",
];

/// Reads an answer for use with templates.
///
/// # Errors
/// The answer is no JSON.
pub(crate) fn typed(json: &[u8]) -> Result<Value> {
    Ok(with_types("", serde_json::from_slice(json)?))
}

fn with_types(key: &str, value: Value) -> Value {
    match value {
        Value::Null(_) if POINTERS.contains(&key) => Value::Null(NullKind::Pointer),
        Value::Null(_) if is_map(key, &[]) => Value::Null(NullKind::Map),
        Value::Null(_) => Value::Null(NullKind::List),
        Value::List(items) => {
            Value::List(items.iter().map(|item| with_types("", item.clone())).collect())
        }
        Value::Map(pairs) => {
            let map = is_map(key, &pairs);
            let typed = pairs.iter().map(|(name, value)| {
                // Names of the user's choice say nothing about what they hold.
                let key = if map { "" } else { name };
                (name.clone(), with_types(key, value.clone()))
            });
            if map {
                return Value::Map(typed.collect());
            }
            Value::Object(Rc::new(Object { fields: typed.collect(), ..Object::default() }))
        }
        other => other,
    }
}

/// `Config` is a struct of containers and images and a map of a log driver's options.
fn is_map(key: &str, pairs: &[(Rc<str>, Value)]) -> bool {
    let config =
        key == "Config" && !pairs.iter().any(|(name, _)| &**name == "Env" || &**name == "Cmd");
    MAPS.contains(&key) || config
}

/// What Docker's types have where the engine says nothing.
fn left_out(key: &str) -> Option<Value> {
    if POINTERS.contains(&key) {
        return Some(Value::Null(NullKind::Pointer));
    }
    match key {
        "Annotations" | "ExposedPorts" | "StorageOpt" | "Sysctls" | "Tmpfs" => {
            Some(Value::Null(NullKind::Map))
        }
        "Mounts" | "OnBuild" | "Shell" | "Warnings" => Some(Value::Null(NullKind::List)),
        "MacAddress" | "StopSignal" | "Variant" => Some("".into()),
        "NetworkDisabled" => Some(false.into()),
        _ => None,
    }
}

/// A template for objects.
#[derive(Debug)]
pub(crate) struct ObjectTemplate(Template);

impl ObjectTemplate {
    /// Parses a template; `json` stands for the whole object.
    ///
    /// # Errors
    /// What is no template.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let text = if text == "json" { "{{json .}}" } else { text };
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        match Template::parse(name, &text) {
            Ok(template) => Ok(Self(template)),
            Err(error) => Err(anyhow!("template parsing error: {error}")),
        }
    }

    /// Appends what the template makes of `object` and a new line.
    ///
    /// # Errors
    /// What the object does not have.
    pub(crate) fn render(&self, object: &Value, out: &mut String) -> Result<()> {
        let mode = Mode { left_out, ..Mode::INSPECT };
        let mut text = String::new();
        self.0
            .execute(object, mode, &mut text)
            .map_err(|error| anyhow!("template parsing error: {error}"))?;
        out.push_str(&text);
        out.push('\n');
        Ok(())
    }
}

/// Indents JSON by four spaces a level and leaves everything else as it came.
pub(crate) fn indent(json: &[u8]) -> Vec<u8> {
    indent_by(json, "    ")
}

/// The same by `step` a level.
pub(crate) fn indent_by(json: &[u8], step: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut level = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    let newline = |out: &mut Vec<u8>, level: usize| {
        out.push(b'\n');
        out.extend(step.repeat(level).bytes());
    };
    let mut bytes = json.trim_ascii().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_string {
            out.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b'{' | b'[' => {
                out.push(byte);
                while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
                if let Some(end) = bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    out.push(end);
                } else {
                    level += 1;
                    newline(&mut out, level);
                }
            }
            b'}' | b']' => {
                level = level.saturating_sub(1);
                newline(&mut out, level);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(&mut out, level);
            }
            b':' => out.extend_from_slice(b": "),
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str = r#"{"Id":"13a9","State":{"Status":"running","Running":true,"Pid":7},
        "HostConfig":{"Binds":["/host:/data:ro"],"CapAdd":null,"PidsLimit":null,
            "LogConfig":{"Type":"json-file","Config":{}}},
        "Config":{"Env":["A=b"],"Labels":{"c":"d","a":"b"},"Volumes":null}}"#;

    fn render(text: &str) -> String {
        let object = typed(CONTAINER.as_bytes()).unwrap();
        let mut out = String::new();
        match ObjectTemplate::parse("", text)
            .and_then(|template| template.render(&object, &mut out))
        {
            Ok(()) => out,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn templates_see_dockers_types() {
        assert_eq!(render("{{.State}}"), "{running true 7}\n");
        assert_eq!(render("{{.State.Health}} {{.Config.Env}}"), "<nil> [A=b]\n");
        assert_eq!(render("{{if .State.Health}}x{{end}}{{.Id}}"), "13a9\n");
        assert_eq!(render("{{.Config.Labels}} {{.Config.Volumes}}"), "map[a:b c:d] map[]\n");
        assert_eq!(render("{{.HostConfig.CapAdd}} {{.HostConfig.PidsLimit}}"), "[] <nil>\n");
        assert_eq!(render("{{.HostConfig.LogConfig}}"), "{json-file map[]}\n");
        assert_eq!(
            render("{{json .State}}"),
            "{\"Status\":\"running\",\"Running\":true,\"Pid\":7}\n"
        );
        assert_eq!(render("{{range .HostConfig.Binds}}{{.}};{{end}}"), "/host:/data:ro;\n");
        assert_eq!(render("{{json .HostConfig.CapAdd}}"), "null\n");
        assert_eq!(
            render("{{.Nope}}"),
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry \
             for key \"Nope\""
        );
        assert_eq!(render("{{"), "template parsing error: template: :1: unclosed action");
    }

    #[test]
    fn json_is_indented_as_go_does() {
        let text = indent(br#"[{"a":[],"b":{ },"c":[1,"x,\"{y"],"d":{"e":null}}]"#);
        let expected = "[\n    {\n        \"a\": [],\n        \"b\": {},\n        \"c\": [\n            1,\n            \"x,\\\"{y\"\n        ],\n        \"d\": {\n            \"e\": null\n        }\n    }\n]";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
