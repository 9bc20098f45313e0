use super::{Mode, NullKind, Object, Template, Value};
use std::rc::Rc;

/// Recorded from Go's `text/template` with Docker's functions, executed on the same data: one
/// template and its result per line, both as JSON strings; errors begin with `ERR `.
const RECORDED: &str = include_str!("cases.tsv");

const DATA: &str = r#"{"B":false,"E":"","EL":[],"F":1.5,"H":"<a&b>","L":["a","b","c"],
    "LM":[{"n":"one"},{"n":"two"}],"M":{"k":null,"x":1,"y":"two"},"N":42,
    "Nest":{"A":{"B":"deep"}},"S":"hello","T":true,"Z":0}"#;

fn render(text: &str, data: &Value, mode: Mode) -> String {
    let mut out = String::new();
    match Template::parse("", text).and_then(|t| t.execute(data, mode, &mut out)) {
        Ok(()) => out,
        Err(error) => format!("ERR {error}"),
    }
}

#[test]
fn templates_print_what_go_prints() {
    let data: Value = serde_json::from_str(DATA).unwrap();
    let mut wrong = Vec::new();
    for line in RECORDED.lines() {
        let (template, expected) = line.split_once('\t').unwrap();
        let template: String = serde_json::from_str(template).unwrap();
        let expected: String = serde_json::from_str(expected).unwrap();
        let actual = render(&template, &data, Mode::ROWS);
        if actual != expected {
            wrong.push(format!("{template:?}\n  go:   {expected}\n  here: {actual}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn rows_have_fields_and_labels_and_escape_html() {
    let labels: Rc<[_]> = [(Rc::from("a.b"), Value::from("c"))].into();
    let row = Value::Object(Rc::new(Object {
        type_name: "*formatter.ContainerContext",
        fields: vec![("ID".into(), "1<2".into())],
        labels: Some(labels),
        lenient: false,
        escape_html: true,
    }));
    assert_eq!(render("{{.ID}} {{.Label \"a.b\"}}{{.Label \"x\"}}", &row, Mode::ROWS), "1<2 c");
    assert_eq!(render("{{json .}} {{json .ID}}", &row, Mode::ROWS), r#"{"ID":"1\u003c2"} "1<2""#);
    assert_eq!(
        render("{{.Foo}}", &row, Mode::ROWS),
        "ERR template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type \
         *formatter.ContainerContext"
    );
    assert_eq!(
        render("{{.Label 1}}", &row, Mode::ROWS),
        "ERR template: :1:9: executing \"\" at <1>: expected string; found 1"
    );
}

#[test]
fn inspection_refuses_unknown_keys_and_shows_nulls_by_kind() {
    let data = Value::Map(
        [
            (Rc::from("P"), Value::Null(NullKind::Pointer)),
            (Rc::from("L"), Value::Null(NullKind::List)),
            (Rc::from("M"), Value::Null(NullKind::Map)),
        ]
        .into(),
    );
    assert_eq!(render("{{.P}} {{.L}} {{.M}} {{len .L}}", &data, Mode::INSPECT), "<nil> [] map[] 0");
    assert_eq!(
        render("{{.Nope}}", &data, Mode::INSPECT),
        "ERR template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""
    );
}
