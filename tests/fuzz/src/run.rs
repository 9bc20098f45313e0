//! Changing inputs until something gives way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::mutate::{Random, mutated};
use crate::{Target, Verdict, inputs::Input};

/// How long one input may take: what takes longer keeps a service busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far a run goes.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// As many inputs.
    Count(u64),
    /// As long.
    Time(Duration),
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Inputs that were accepted.
    pub accepted: u64,
    /// Inputs that were refused.
    pub refused: u64,
}

/// An input for which a property does not hold, as short as it was made.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The input.
    pub bytes: Vec<u8>,
    /// What gave way.
    pub message: String,
}

/// Runs one input.
///
/// # Errors
/// It panicked, or took too long.
pub fn one(target: &Target, bytes: &[u8]) -> Result<Verdict, String> {
    let begin = Instant::now();
    let verdict = catch_unwind(AssertUnwindSafe(|| (target.check)(bytes))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned())
    })?;
    let time = begin.elapsed();
    if time > PATIENCE {
        return Err(format!("{} bytes took {} ms", bytes.len(), time.as_millis()));
    }
    Ok(verdict)
}

/// Runs changed inputs; the same ones for the same inputs, seed and count.
///
/// # Errors
/// The first input that fails.
pub fn many(target: &Target, inputs: &[Input], seed: u64, bound: Bound) -> Result<Tally, Failure> {
    let begin = Instant::now();
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    // What was accepted after a change is worth changing again.
    let mut pool: Vec<Vec<u8>> = inputs.iter().map(|input| input.bytes.clone()).collect();
    let first = pool.len();
    loop {
        let count = tally.accepted + tally.refused;
        let done = match bound {
            Bound::Count(most) => count >= most,
            Bound::Time(most) => begin.elapsed() >= most,
        };
        if done || pool.is_empty() {
            return Ok(tally);
        }
        let (input, other) = (random.below(pool.len()), random.below(pool.len()));
        let mut bytes = mutated(&pool[input], &pool[other], target.words, &mut random);
        if random.below(8) > 0 {
            (target.repair)(&mut bytes);
        }
        match one(target, &bytes) {
            Ok(Verdict::Accepted) => {
                tally.accepted += 1;
                if pool.len() < first + 256 {
                    pool.push(bytes);
                } else {
                    let at = first + random.below(256);
                    pool[at] = bytes;
                }
            }
            Ok(Verdict::Refused) => tally.refused += 1,
            Err(message) => {
                let (bytes, message) = shortest(target, bytes, message);
                return Err(Failure { bytes, message });
            }
        }
    }
}

/// Leaves out of a failing input what it fails without.
fn shortest(target: &Target, mut bytes: Vec<u8>, mut message: String) -> (Vec<u8>, String) {
    let begin = Instant::now();
    let mut piece = bytes.len().div_ceil(2);
    while piece > 0 && begin.elapsed() < Duration::from_secs(10) {
        let mut at = 0;
        while at < bytes.len() {
            let mut shorter = bytes.clone();
            shorter.drain(at..(at + piece).min(bytes.len()));
            (target.repair)(&mut shorter);
            match one(target, &shorter) {
                Err(said) => (bytes, message) = (shorter, said),
                Ok(_) => at += piece,
            }
        }
        piece /= 2;
    }
    (bytes, message)
}
