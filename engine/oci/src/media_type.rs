//! Media types of image documents and layers. Spec: image-spec, media-types.md.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, plain tar.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, plain tar (only ever inside archives).
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, zstd.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Whether this names one image.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether this names a list of manifests.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_INDEX)
}

/// Whether this names an image config, so that its manifest is an image and not another artifact.
pub fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Whether this names a file system layer, in any compression, the non-distributable ones too.
pub fn is_layer(media_type: &str) -> bool {
    let plain = media_type.strip_suffix("+gzip").or_else(|| media_type.strip_suffix("+zstd"));
    let plain = plain.unwrap_or(media_type);
    let plain =
        plain.strip_suffix(".gzip").or_else(|| plain.strip_suffix(".zstd")).unwrap_or(plain);
    matches!(
        plain,
        OCI_LAYER
            | DOCKER_LAYER
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
    )
}

/// The OCI media type of a layer compressed as the worker reports it: `""`, `gzip` or `zstd`.
pub fn oci_layer(compression: &str) -> &'static str {
    match compression {
        "gzip" => OCI_LAYER_GZIP,
        "zstd" => OCI_LAYER_ZSTD,
        _ => OCI_LAYER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for layer in [
            OCI_LAYER,
            OCI_LAYER_GZIP,
            OCI_LAYER_ZSTD,
            DOCKER_LAYER,
            DOCKER_LAYER_GZIP,
            DOCKER_LAYER_ZSTD,
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        ] {
            assert!(is_layer(layer), "{layer}");
            assert!(!is_manifest(layer) && !is_index(layer) && !is_image_config(layer));
        }
        for other in ["", "application/vnd.in-toto+json", OCI_CONFIG, "text/plain+gzip"] {
            assert!(!is_layer(other), "{other}");
        }
        assert!(is_manifest(DOCKER_MANIFEST) && is_index(DOCKER_INDEX));
        assert_eq!(oci_layer("zstd"), OCI_LAYER_ZSTD);
    }
}
