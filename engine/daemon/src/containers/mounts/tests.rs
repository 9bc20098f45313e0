use super::*;
use serde_json::{Value, json};

fn plan_json(volumes: &[&str], host: Value) -> Result<Vec<StoredMount>, String> {
    let config = ContainerConfig {
        volumes: volumes.iter().map(|&path| (path.to_owned(), Default::default())).collect(),
        ..Default::default()
    };
    let other = |name: &str| match name {
        "other" => {
            let config = json!({"Binds": ["/a:/x", "data:/y", "/z"], "Tmpfs": {"/t": ""}});
            plan(&ContainerConfig::default(), &serde_json::from_value(config).unwrap(), |_| {
                Ok(Vec::new())
            })
        }
        _ => Err(ApiError::not_found(format!("No such container: {name}"))),
    };
    plan(&config, &serde_json::from_value(host).unwrap(), other).map_err(|error| error.message)
}

fn one(host: Value) -> StoredMount {
    let mut mounts = plan_json(&[], host).unwrap();
    assert_eq!(mounts.len(), 1);
    mounts.remove(0)
}

#[test]
fn binds() {
    let mount = one(json!({"Binds": ["/a//b/../c:/x/:ro"]}));
    assert_eq!(mount.destination, "/x");
    assert!(mount.readonly);
    let expected = Source::Bind { path: "/a/c".to_owned(), create: true, recursive: true };
    assert_eq!(mount.source, expected);
    let mount = one(json!({"Binds": ["data:/x:nocopy"]}));
    assert!(matches!(mount.source, Source::Volume { name, copy: false, anonymous: false, .. }
        if name == "data"));
    let mount = one(json!({"Binds": ["/x"]}));
    assert!(matches!(mount.source, Source::Volume { anonymous: true, .. }));
}

#[test]
fn tmpfs() {
    let mount = one(json!({"Tmpfs": {"/t": "size=1m,mode=700,exec,ro"}}));
    assert!(mount.readonly);
    let expected = Source::Tmpfs { size: Some(1 << 20), mode: Some(0o700), exec: true };
    assert_eq!(mount.source, expected);
    let options = json!({"SizeBytes": 4096, "Mode": 0o755});
    let mount =
        one(json!({"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": options}]}));
    let expected = Source::Tmpfs { size: Some(4096), mode: Some(0o755), exec: false };
    assert_eq!(mount.source, expected);
}

#[test]
fn a_volume_of_the_image_gives_way_to_the_clients_mount() {
    let host = json!({"Binds": ["/src:/data/sub"], "Tmpfs": {"/cache": ""}});
    let mounts = plan_json(&["/data", "/cache/"], host).unwrap();
    let shown: Vec<_> = mounts.iter().map(|mount| mount.destination.as_str()).collect();
    assert_eq!(shown, ["/cache", "/data", "/data/sub"]);
    assert!(matches!(mounts[0].source, Source::Tmpfs { .. }));
    assert!(matches!(mounts[1].source, Source::Volume { anonymous: true, .. }));
}

#[test]
fn refused() {
    let mount = |mount: Value| json!({ "Mounts": [mount] });
    for (host, part) in [
        (json!({"Binds": ["a:b"]}), "mount path must be absolute"),
        (json!({"Binds": ["/a:/"]}), "destination can't be '/'"),
        (json!({"Binds": ["/a:/x/.."]}), "destination can't be '/'"),
        (json!({"Binds": ["/a:/b:what"]}), "invalid mode: what"),
        (json!({"Binds": ["/a:/b:ro:x"]}), "invalid volume specification"),
        (json!({"Binds": [":/b"]}), "empty section"),
        (json!({"Binds": ["./a:/b"]}), "Invalid volume name"),
        (json!({"Binds": ["/a:/b:rshared"]}), "propagation"),
        (json!({"Binds": ["/a:/b", "/c:/b/"]}), "Duplicate mount point: /b"),
        (json!({"Tmpfs": {"/t": "size=many"}}), "invalid tmpfs option"),
        (json!({"Tmpfs": {"/t": "mode=9"}}), "invalid tmpfs option"),
        (mount(json!({"Type": "bind", "Target": "/x"})), "field Source must not be empty"),
        (mount(json!({"Type": "bind", "Source": "/a"})), "field Target must not be empty"),
        (
            mount(json!({"Type": "bind", "Source": "/no/such/path", "Target": "/x"})),
            "invalid mount config for type \"bind\": bind source path does not exist: /no/such/path",
        ),
        (mount(json!({"Type": "npipe", "Target": "/x"})), "is not available"),
        (mount(json!({"Type": "tmpfs", "Target": "/x", "Source": "/y"})), "field Source must not"),
        (
            mount(json!({"Type": "tmpfs", "Target": "/x", "BindOptions": {}})),
            "field BindOptions must not be specified",
        ),
    ] {
        let message = plan_json(&[], host.clone()).unwrap_err();
        assert!(message.contains(part), "{host}: {message}");
    }
}

#[test]
fn mounts_of_another_container() {
    let mounts = plan_json(&["/z"], json!({"VolumesFrom": ["other:ro"], "Binds": ["/b:/x"]}));
    let mounts = mounts.unwrap();
    let at = |path: &str| mounts.iter().find(|mount| mount.destination == path).unwrap();
    assert_eq!(mounts.len(), 3, "no tmpfs, nothing twice: {mounts:?}");
    assert!(matches!(&at("/x").source, Source::Bind { path, .. } if path == "/b"));
    assert!(!at("/x").readonly && at("/y").readonly && at("/z").readonly);
    assert!(matches!(at("/z").source, Source::Volume { anonymous: false, copy: false, .. }));
    assert_eq!(
        plan_json(&[], json!({"VolumesFrom": ["no"]})).unwrap_err(),
        "No such container: no"
    );
    assert_eq!(plan_json(&[], json!({"VolumesFrom": ["other:x"]})).unwrap_err(), "invalid mode: x");
}
