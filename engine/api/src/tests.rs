use super::*;
use serde_json::json;

#[test]
fn a_create_body_as_the_docker_cli_sends_it() {
    let body: ContainerCreateBody = serde_json::from_value(json!({
        "Hostname": "", "User": "", "Tty": false, "Env": null, "Cmd": ["true"], "Image": "busybox",
        "Volumes": {"/data": {}}, "Entrypoint": null, "OnBuild": null, "Labels": {},
        "HostConfig": {
            "Binds": null, "NetworkMode": "default", "CapAdd": null, "MemorySwappiness": -1,
            "PortBindings": {}, "LogConfig": {"Type": "", "Config": {}}, "Init": null,
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "MaskedPaths": null,
        },
        "NetworkingConfig": {"EndpointsConfig": {}},
    }))
    .unwrap();
    assert_eq!(body.config.image, "busybox");
    assert_eq!(body.config.cmd, Some(vec!["true".to_owned()]));
    assert!(body.config.volumes.contains_key("/data"));
    assert_eq!(body.host_config.network_mode, "default");
    assert_eq!(body.host_config.rest["MemorySwappiness"], json!(-1));
    assert_eq!(body.host_config.rest.len(), 2);
}

#[test]
fn a_create_body_survives_a_round_trip() {
    let body = ContainerCreateBody {
        config: ContainerConfig { image: "a".to_owned(), tty: true, ..Default::default() },
        host_config: HostConfig { memory: 5, auto_remove: true, ..Default::default() },
        networking_config: None,
    };
    let text = serde_json::to_string(&body).unwrap();
    assert_eq!(serde_json::from_str::<ContainerCreateBody>(&text).unwrap(), body);
}

#[test]
fn a_command_may_be_one_string() {
    let config: ContainerConfig = serde_json::from_value(json!({"Cmd": "true"})).unwrap();
    assert_eq!(config.cmd, Some(vec!["true".to_owned()]));
}

#[test]
fn an_error_of_another_engine_has_no_kind() {
    let error: ErrorResponse = serde_json::from_value(json!({"message": "no"})).unwrap();
    assert_eq!((error.kind, error.hint), (None, None));
}
