//! The compiler against plain readings of the same profiles, through an interpreter.

mod interpreter;
mod naive;
mod profiles;
mod random;
mod reference;

use super::rule::Action;
use interpreter::Call;

const ALLOW: u32 = 0x7fff_0000;

fn errno(number: u16) -> u32 {
    Action::Errno(number).verdict()
}

/// Argument values at and around every value a profile compares with, in either half.
fn interesting(values: &[u64]) -> Vec<u64> {
    let mut all = vec![0, 1, u64::MAX, 1 << 31, 1 << 32, u64::from(u32::MAX), 1 << 63];
    for value in values {
        let swapped = value.rotate_left(32);
        all.extend([
            *value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            !value,
            value | 1 << 32,
            value | 1 << 63,
            swapped,
            swapped.wrapping_add(1),
        ]);
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn call(arch: u32, number: u32, args: [u64; 6]) -> Call {
    Call { arch, number, args }
}
