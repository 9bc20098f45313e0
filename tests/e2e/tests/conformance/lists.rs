//! Lists: the base, tags, repositories, referrers.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::case::{Case, Check, OCI_INDEX, OCI_MANIFEST, header, status};

pub(crate) const CHECKS: &[Check] = &[
    ("the base", base),
    ("tags", tags),
    ("tags, page by page", pages),
    ("tags of a repository that is not there", no_repository),
    ("repositories", catalog),
    ("names that are none", bad_names),
    ("methods that are none", bad_methods),
    ("referrers", referrers),
    ("referrers of a kind", filtered),
    ("referrers of what is not there", no_subject),
    ("a referrer that is deleted", deleted),
];

fn base(case: &Case) -> Result<()> {
    let answer = case.http.get("/v2/");
    status(&answer, 200)?;
    header(&answer, "docker-distribution-api-version", "registry/2.0")
}

fn names(answer: &hull_test_support::http::Answer, key: &str) -> Vec<String> {
    let json = answer.json();
    let names = json[key].as_array().cloned().unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn tags(case: &Case) -> Result<()> {
    let image = case.image("tagged")?;
    for tag in ["b", "a", "v1.0", "_x"] {
        status(&case.put(tag, OCI_MANIFEST, &image), 201)?;
    }
    let answer = case.get("tags/list");
    status(&answer, 200)?;
    ensure!(answer.json()["name"] == json!(case.repository));
    ensure!(names(&answer, "tags") == ["_x", "a", "b", "v1.0"], "{}", answer.text());
    Ok(())
}

fn pages(case: &Case) -> Result<()> {
    let image = case.image("tagged")?;
    for tag in ["t1", "t2", "t3", "t4", "t5"] {
        status(&case.put(tag, OCI_MANIFEST, &image), 201)?;
    }
    let first = case.get("tags/list?n=2");
    status(&first, 200)?;
    ensure!(names(&first, "tags") == ["t1", "t2"], "{}", first.text());
    let link = first.header("link").context("no Link")?;
    ensure!(link.ends_with("; rel=\"next\""), "{link}");
    let next = link.split(['<', '>']).nth(1).context("no address in Link")?;
    let second = case.http.get(next);
    ensure!(names(&second, "tags") == ["t3", "t4"], "{}", second.text());
    let last = case.get("tags/list?n=2&last=t4");
    ensure!(names(&last, "tags") == ["t5"], "{}", last.text());
    ensure!(last.header("link").is_none(), "a Link to nothing");
    ensure!(names(&case.get("tags/list?last=t3"), "tags") == ["t4", "t5"]);
    ensure!(names(&case.get("tags/list?last=t25"), "tags") == ["t3", "t4", "t5"]);
    let none = case.get("tags/list?n=0");
    status(&none, 200)?;
    ensure!(names(&none, "tags").is_empty(), "{}", none.text());
    status(&case.get("tags/list?n=many"), 400)
}

fn no_repository(case: &Case) -> Result<()> {
    let answer = case.get("tags/list");
    status(&answer, 404)?;
    ensure!(answer.code() == "NAME_UNKNOWN", "{}", answer.text());
    Ok(())
}

fn catalog(case: &Case) -> Result<()> {
    status(&case.put("v1", OCI_MANIFEST, &case.image("listed")?), 201)?;
    let answer = case.http.get("/v2/_catalog?n=10000");
    let answer = if answer.status == 400 { case.http.get("/v2/_catalog?n=1000") } else { answer };
    status(&answer, 200)?;
    ensure!(names(&answer, "repositories").contains(&case.repository), "{}", answer.text());
    let first = case.http.get("/v2/_catalog?n=1");
    ensure!(names(&first, "repositories").len() == 1, "{}", first.text());
    ensure!(first.header("link").is_some());
    Ok(())
}

fn bad_names(case: &Case) -> Result<()> {
    for name in ["UPPER", "a/../b", "a//b", "-x", "a/_catalog_/b", &"a".repeat(256)] {
        let answer = case.http.get(&format!("/v2/{name}/tags/list"));
        ensure!([400, 404, 301].contains(&answer.status), "{name}: {answer:?}");
    }
    Ok(())
}

fn bad_methods(case: &Case) -> Result<()> {
    for (method, path) in [
        ("POST", case.path("tags/list")),
        ("PATCH", case.path("manifests/v1")),
        ("PUT", "/v2/".to_owned()),
        ("BREW", case.path("blobs/uploads/")),
    ] {
        let answer = case.http.send(method, &path, &[], b"");
        ensure!([404, 405].contains(&answer.status), "{method} {path}: {answer:?}");
    }
    Ok(())
}

/// Pushes an artifact about `subject`; its descriptor as the list must have it.
fn about(case: &Case, name: &str, kind: Option<&str>, subject: &Value) -> Result<Value> {
    let config = case.pushed("application/vnd.example.config", b"{}")?;
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
        "layers": [], "subject": subject, "annotations": { "org.example.name": name } });
    if let Some(kind) = kind {
        manifest["artifactType"] = json!(kind);
    }
    let mut listed = case.put_by_digest(OCI_MANIFEST, &manifest)?;
    listed["artifactType"] = json!(kind.unwrap_or("application/vnd.example.config"));
    listed["annotations"] = manifest["annotations"].clone();
    Ok(listed)
}

fn listed(case: &Case, subject: &Value, query: &str) -> Result<Vec<Value>> {
    let digest = subject["digest"].as_str().context("a digest")?;
    let answer = case.get(&format!("referrers/{digest}{query}"));
    status(&answer, 200)?;
    header(&answer, "content-type", OCI_INDEX)?;
    let json = answer.json();
    ensure!(json["schemaVersion"] == 2 && json["mediaType"] == OCI_INDEX, "{json}");
    if !query.is_empty() {
        header(&answer, "oci-filters-applied", "artifactType")?;
    }
    Ok(json["manifests"].as_array().context("manifests")?.clone())
}

fn same(mut found: Vec<Value>, mut expected: Vec<Value>) -> Result<()> {
    for list in [&mut found, &mut expected] {
        list.sort_by_key(|one| one["digest"].to_string());
    }
    ensure!(found == expected, "{found:#?} instead of {expected:#?}");
    Ok(())
}

fn referrers(case: &Case) -> Result<()> {
    let subject = case.put_by_digest(OCI_MANIFEST, &case.image("subject")?)?;
    same(listed(case, &subject, "")?, Vec::new())?;
    let one = about(case, "one", Some("application/vnd.example.signature"), &subject)?;
    let two = about(case, "two", None, &subject)?;
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [],
        "artifactType": "application/vnd.example.list", "subject": subject });
    let mut three = case.put_by_digest(OCI_INDEX, &index)?;
    three["artifactType"] = json!("application/vnd.example.list");
    about(case, "of another", None, &one)?;
    same(listed(case, &subject, "")?, vec![one, two, three])
}

fn filtered(case: &Case) -> Result<()> {
    let subject = case.put_by_digest(OCI_MANIFEST, &case.image("subject")?)?;
    let one = about(case, "one", Some("application/vnd.example.a+b"), &subject)?;
    about(case, "two", Some("application/vnd.example.other"), &subject)?;
    let query = "?artifactType=application%2Fvnd.example.a%2Bb";
    same(listed(case, &subject, query)?, vec![one])?;
    same(listed(case, &subject, "?artifactType=none")?, Vec::new())
}

fn no_subject(case: &Case) -> Result<()> {
    let missing =
        json!({ "mediaType": OCI_MANIFEST, "digest": case.digest(b"not yet"), "size": 7 });
    same(listed(case, &missing, "")?, Vec::new())?;
    let early = about(case, "early", None, &missing)?;
    same(listed(case, &missing, "")?, vec![early])?;
    status(&case.get("referrers/sha256:nothing"), 400)
}

fn deleted(case: &Case) -> Result<()> {
    let subject = case.put_by_digest(OCI_MANIFEST, &case.image("subject")?)?;
    let one = about(case, "one", None, &subject)?;
    let two = about(case, "two", None, &subject)?;
    let digest = one["digest"].as_str().context("a digest")?;
    status(&case.send("DELETE", &format!("manifests/{digest}")), 202)?;
    same(listed(case, &subject, "")?, vec![two])
}
