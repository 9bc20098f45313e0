//! From a table of rules to a program: a binary search over ranges of call numbers.

use super::bpf::{
    Assembler, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, MAX_INSTRUCTIONS, OFFSET_ARCH,
    OFFSET_NUMBER, Program, Target, offset_argument,
};
use super::rule::{Action, Condition, ENOSYS, Operator, Rule, Table, Verdict};
use super::syscalls::Arch;

/// A profile has no program.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Too many rules.
    #[error(
        "the seccomp profile needs {instructions} instructions, the kernel takes {MAX_INSTRUCTIONS}"
    )]
    TooLong {
        /// Length of the program.
        instructions: usize,
    },
}

/// Calls from `first` up to the next range's first.
#[derive(Debug, Clone, Copy)]
struct Range<'a> {
    first: u32,
    outcome: Outcome<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome<'a> {
    Action(Action),
    Rules(&'a [Rule]),
}

/// Writes the program for `table` on `arch`.
///
/// # Errors
/// `TooLong` if the kernel would not take the program.
pub(super) fn program(table: &Table, arch: Arch) -> Result<Program, CompileError> {
    let ranges = ranges(table, arch);
    let mut assembler = Assembler::with_capacity(2 * ranges.len() + 16);
    let tree = search(&mut assembler, &ranges, table.default);
    assembler.fall_to(tree);
    let load = assembler.load(OFFSET_NUMBER);
    let foreign = Target::Return(Action::Errno(ENOSYS).verdict());
    assembler.branch(JUMP_EQUAL, arch.audit(), Target::Place(load), foreign);
    assembler.load(OFFSET_ARCH);
    let program = assembler.finish();
    match program.instructions().len() {
        instructions if instructions > MAX_INSTRUCTIONS => {
            Err(CompileError::TooLong { instructions })
        }
        _ => Ok(program),
    }
}

/// All call numbers as ranges of one outcome each, the first from 0, the last without end.
fn ranges(table: &Table, arch: Arch) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = Vec::with_capacity(table.calls.len() / 2);
    let mut first = 0;
    for verdict in &table.calls {
        let outcome = match verdict {
            Verdict::Default => Outcome::Action(table.default),
            Verdict::Always(action) => Outcome::Action(*action),
            Verdict::Conditional(rules) => Outcome::Rules(rules),
        };
        extend(&mut ranges, first, outcome);
        first += 1;
    }
    // Without any rule there is no newest call, and the default is all the profile says.
    let keep = table.default.passes() || table.calls.is_empty();
    let unknown = if keep { table.default } else { Action::Errno(ENOSYS) };
    extend(&mut ranges, first, Outcome::Action(unknown));
    extend(&mut ranges, arch.end_of_numbers(), Outcome::Action(Action::Errno(ENOSYS)));
    ranges
}

/// Appends a range, unless it only continues the last one.
fn extend<'a>(ranges: &mut Vec<Range<'a>>, first: u32, outcome: Outcome<'a>) {
    if ranges.last().is_none_or(|last| last.outcome != outcome) {
        ranges.push(Range { first, outcome });
    }
}

/// Writes a balanced search tree over `ranges`; the accumulator holds the call number.
fn search(assembler: &mut Assembler, ranges: &[Range<'_>], default: Action) -> Target {
    match ranges {
        [] => unreachable!("the ranges cover every number"),
        [range] => match range.outcome {
            Outcome::Action(action) => Target::Return(action.verdict()),
            Outcome::Rules(rules) => alternatives(assembler, rules, default),
        },
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let above = search(assembler, high, default);
            let below = search(assembler, low, default);
            Target::Place(assembler.branch(JUMP_GREATER_OR_EQUAL, high[0].first, above, below))
        }
    }
}

/// Writes the rules of one call: the first that matches decides, else `default`.
fn alternatives(assembler: &mut Assembler, rules: &[Rule], default: Action) -> Target {
    let mut otherwise = Target::Return(default.verdict());
    for rule in rules.iter().rev() {
        let mut then = Target::Return(rule.action.verdict());
        for condition in rule.conditions.iter().rev() {
            then = compare(assembler, *condition, then, otherwise);
        }
        otherwise = then;
    }
    otherwise
}

/// Writes one condition as comparisons of the argument's two halves.
fn compare(assembler: &mut Assembler, condition: Condition, yes: Target, no: Target) -> Target {
    let low = offset_argument(condition.argument);
    let high = low + 4;
    match condition.operator {
        Operator::Equal(value) => equal(assembler, low, u64::MAX, value, yes, no),
        Operator::NotEqual(value) => equal(assembler, low, u64::MAX, value, no, yes),
        Operator::MaskedEqual { mask, value } => equal(assembler, low, mask, value, yes, no),
        Operator::Greater(value) => order(assembler, (low, high), JUMP_GREATER, value, yes, no),
        Operator::LessOrEqual(value) => order(assembler, (low, high), JUMP_GREATER, value, no, yes),
        Operator::GreaterOrEqual(value) => {
            order(assembler, (low, high), JUMP_GREATER_OR_EQUAL, value, yes, no)
        }
        Operator::Less(value) => {
            order(assembler, (low, high), JUMP_GREATER_OR_EQUAL, value, no, yes)
        }
    }
}

/// argument & mask == value
fn equal(
    assembler: &mut Assembler,
    low: u32,
    mask: u64,
    value: u64,
    yes: Target,
    no: Target,
) -> Target {
    let (mask_high, mask_low) = halves(mask);
    let (value_high, value_low) = halves(value);
    let then = equal_half(assembler, low, mask_low, value_low, yes, no);
    equal_half(assembler, low + 4, mask_high, value_high, then, no)
}

fn equal_half(
    assembler: &mut Assembler,
    offset: u32,
    mask: u32,
    value: u32,
    yes: Target,
    no: Target,
) -> Target {
    // A half of which no bit counts is 0 whatever the argument.
    if mask == 0 {
        return if value == 0 { yes } else { no };
    }
    assembler.branch(JUMP_EQUAL, value, yes, no);
    if mask != u32::MAX {
        assembler.and(mask);
    }
    Target::Place(assembler.load(offset))
}

/// argument > value, or >= by `code`: the high halves decide unless they are equal.
fn order(
    assembler: &mut Assembler,
    (low, high): (u32, u32),
    code: u16,
    value: u64,
    yes: Target,
    no: Target,
) -> Target {
    let (value_high, value_low) = halves(value);
    assembler.branch(code, value_low, yes, no);
    let low = Target::Place(assembler.load(low));
    let equal = Target::Place(assembler.branch(JUMP_EQUAL, value_high, low, no));
    assembler.branch(JUMP_GREATER, value_high, yes, equal);
    Target::Place(assembler.load(high))
}

fn halves(value: u64) -> (u32, u32) {
    let low = u32::try_from(value & u64::from(u32::MAX)).expect("masked to 32 bits");
    let high = u32::try_from(value >> 32).expect("32 bits are left");
    (high, low)
}
