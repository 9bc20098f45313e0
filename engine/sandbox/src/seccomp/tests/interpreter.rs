//! Classic BPF as the kernel runs it, for the operations a filter may use.

use crate::seccomp::{MAX_INSTRUCTIONS, Program};

/// The kernel's `struct seccomp_data`, without the instruction pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) arch: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.arch.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        for arg in self.args {
            bytes.extend(arg.to_le_bytes());
        }
        assert!(offset.is_multiple_of(4), "the kernel refuses unaligned loads");
        let at = offset as usize;
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }
}

/// The verdict, and how many instructions it took.
pub(super) fn run(program: &Program, call: &Call) -> (u32, usize) {
    let code = program.instructions();
    assert!(code.len() <= MAX_INSTRUCTIONS);
    let (mut at, mut accumulator, mut steps) = (0, 0u32, 0);
    loop {
        let instruction = code[at];
        let k = instruction.operand;
        steps += 1;
        let holds = match instruction.code {
            0x20 => {
                accumulator = call.word(k);
                at += 1;
                continue;
            }
            0x54 => {
                accumulator &= k;
                at += 1;
                continue;
            }
            0x05 => {
                at += 1 + k as usize;
                continue;
            }
            0x06 => return (k, steps),
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            other => panic!("operation {other:#x} is not used by the compiler"),
        };
        let skip = if holds { instruction.jump_true } else { instruction.jump_false };
        at += 1 + usize::from(skip);
    }
}
