//! A layer of our own: packed by one thread, read by another as any layer that comes from
//! outside.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::OwnedFd;

use hull_oci::Algorithm;

use super::read::read_layer_with;
use super::{Input, LayerError, LayerReport, Limits, Packed, Target};
use crate::Durability;

/// Has `pack` write a layer's tar and reads it into `target`. Nothing is on disk for certain when
/// this returns.
///
/// The two ends of `pipe` belong together.
///
/// # Errors
/// As [`LayerError`] says; the packing thread's own error before that of its reader.
pub fn make_layer(
    pipe: (PipeReader, PipeWriter),
    target: Target,
    limits: Limits,
    pack: impl FnOnce(PipeWriter) -> Result<Packed, LayerError> + Send,
) -> Result<LayerReport, LayerError> {
    let (reader, writer) = pipe;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || pack(writer));
        let input = Input::Stream(File::from(OwnedFd::from(reader)));
        let read = read_layer_with(input, target, Algorithm::Sha256, limits, Durability::Volatile);
        let packed = packing.join().unwrap_or_else(|_| {
            Err(LayerError::io("pack a layer", std::io::Error::other("a thread panicked")))
        });
        match (packed, read) {
            // It lost its reader, whose reason is the one.
            (Err(LayerError::Io { .. }), Err(error)) => Err(error),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(_), Ok(report)) => Ok(report),
        }
    })
}
