//! Which device nodes the processes of a container may use: lines for version 1, a program for
//! version 2.

/// A device node that every container has: name, major and minor number.
pub(crate) const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Allows `access` to device nodes; without numbers, to all of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: Access,
}

/// The kernel's `BPF_DEVCG_DEV_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block = 1,
    Character = 2,
}

/// Bits of the kernel's `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Make nodes.
    Make = 1,
    /// Make, read and write.
    All = 7,
}

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { kind: Kind::Character, major: Some(major), minor, access: Access::All }
}

const fn make(kind: Kind) -> Rule {
    Rule { kind, major: None, minor: None, access: Access::Make }
}

/// Everything else is denied. Making nodes is left to `CAP_MKNOD`; using them is not. 5:1 is the
/// console, 5:2 and 136:* are pseudo terminals.
const RULES: [Rule; 11] = [
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    character(136, None),
    make(Kind::Character),
    make(Kind::Block),
];

/// What to write to `devices.allow`, one line each, after `devices.deny` was told "a".
pub(crate) fn v1_lines() -> impl Iterator<Item = String> {
    RULES.iter().map(|rule| {
        let kind = if rule.kind == Kind::Block { 'b' } else { 'c' };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let access = if rule.access == Access::Make { "m" } else { "rwm" };
        format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))
    })
}

/// The same as a program for a version 2 cgroup (linux/bpf.h, `struct bpf_cgroup_dev_ctx`).
pub(crate) fn v2_program() -> Vec<u64> {
    // Registers 2 to 5 hold kind, access, major and minor number.
    let mut program = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOVE_REGISTER, 3, 2, 0, 0),
        instruction(AND, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in RULES {
        // Each test leaves the rule when it does not hold.
        let mut tests = vec![(2, rule.kind as u32)];
        tests.extend(rule.major.map(|major| (4, major)));
        tests.extend(rule.minor.map(|minor| (5, minor)));
        let access = if rule.access == Access::All { 0 } else { 3 };
        let mut left = i16::try_from(tests.len()).unwrap_or(0) + access + 2;
        for (register, value) in tests {
            left -= 1;
            program.push(instruction(JUMP_NOT_EQUAL, register, 0, left, value));
        }
        if access > 0 {
            program.push(instruction(MOVE_REGISTER, 0, 3, 0, 0));
            program.push(instruction(AND, 0, 0, 0, !(rule.access as u32)));
            program.push(instruction(JUMP_NOT_EQUAL, 0, 0, 2, 0));
        }
        program.push(instruction(MOVE, 0, 0, 0, 1));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program.push(instruction(MOVE, 0, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// `struct bpf_insn` as a word.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, operand: u32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(operand) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn allows(kind: Kind, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind as u32, major, minor];
        let program = v2_program();
        let mut registers = [0u32; 11];
        let mut at = 0;
        loop {
            let [code, pair, low, high, operand @ ..] = program[at].to_le_bytes();
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let offset = i16::from_le_bytes([low, high]);
            let operand = u32::from_le_bytes(operand);
            at += 1;
            match code {
                LOAD_WORD => registers[to] = context[usize::try_from(offset).unwrap() / 4],
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = operand,
                AND => registers[to] &= operand,
                SHIFT_RIGHT => registers[to] >>= operand,
                JUMP_NOT_EQUAL if registers[to] != operand => {
                    at += usize::try_from(offset).unwrap()
                }
                JUMP_NOT_EQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn version_1_lines() {
        let lines: Vec<String> = v1_lines().collect();
        assert_eq!(lines[0], "c 1:3 rwm");
        assert_eq!(lines[8..], ["c 136:* rwm", "c *:* m", "b *:* m"]);
    }

    #[test]
    fn the_version_2_program_decides_as_the_lines_say() {
        for (_, major, minor) in NODES {
            assert!(allows(Kind::Character, 6, major, minor));
            assert!(!allows(Kind::Block, 6, major, minor));
        }
        assert!(allows(Kind::Character, 6, 136, 77));
        for (kind, major, minor) in [
            (Kind::Block, 8, 0),
            (Kind::Character, 10, 229),
            (Kind::Character, 1, 1),
            (Kind::Character, 1, 4),
            (Kind::Character, 5, 3),
        ] {
            assert!(allows(kind, 1, major, minor), "{major}:{minor} can be made");
            for access in [2, 4, 6, 3, 7] {
                assert!(!allows(kind, access, major, minor), "{major}:{minor} {access}");
            }
        }
    }

    #[test]
    fn privileged_the_kernel_takes_the_program() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        hull_sys::bpf::load_device_program(&v2_program()).unwrap();
    }
}
