//! Probe.

fn main() {}
