//! Classic BPF: operations, and an assembler that writes a program from its end.

/// The kernel refuses longer programs (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Loads a word of `struct seccomp_data` at this offset into the accumulator.
pub(super) const LOAD: u16 = 0x20;
/// Accumulator &= operand.
pub(super) const AND: u16 = 0x54;
/// Jumps that many instructions.
pub(super) const JUMP: u16 = 0x05;
/// One jump where the accumulator equals the operand, the other otherwise.
pub(super) const JUMP_EQUAL: u16 = 0x15;
/// The same for accumulator > operand, unsigned.
pub(super) const JUMP_GREATER: u16 = 0x25;
/// The same for accumulator >= operand, unsigned.
pub(super) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
/// Ends the program with its operand as verdict.
pub(super) const RETURN: u16 = 0x06;

/// Offset of the system call number in `struct seccomp_data`.
pub(super) const OFFSET_NUMBER: u32 = 0;
/// Offset of the audit architecture.
pub(super) const OFFSET_ARCH: u32 = 4;

/// Offset of the low half of argument `index` on a little-endian machine; the high half follows.
pub(super) fn offset_argument(index: u8) -> u32 {
    16 + 8 * u32::from(index)
}

/// One instruction, the fields of the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip where it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

impl Instruction {
    /// The instruction as the kernel reads it: one `struct sock_filter` in the byte order of
    /// this (little-endian) machine.
    pub fn word(self) -> u64 {
        u64::from(self.code)
            | u64::from(self.jump_true) << 16
            | u64::from(self.jump_false) << 24
            | u64::from(self.operand) << 32
    }
}

/// A finished filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
}

impl Program {
    /// The instructions in order, at most [`MAX_INSTRUCTIONS`].
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The same as words for the kernel, see [`Instruction::word`].
    pub fn words(&self) -> Vec<u64> {
        self.instructions.iter().map(|instruction| instruction.word()).collect()
    }
}

/// Where to go from an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// End with this verdict.
    Return(u32),
    /// Go to a place already written.
    Place(Place),
}

/// An instruction already written, counted from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

/// Writes a program backwards: classic BPF jumps only forward, so the places a jump leads to
/// are always known when the jump is written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    /// The last `RETURN` written for each verdict; a profile has few of them.
    returns: Vec<(u32, Place)>,
}

impl Assembler {
    pub(super) fn with_capacity(instructions: usize) -> Self {
        Self { reversed: Vec::with_capacity(instructions), returns: Vec::new() }
    }

    pub(super) fn load(&mut self, offset: u32) -> Place {
        self.push(LOAD, 0, 0, offset)
    }

    pub(super) fn and(&mut self, mask: u32) -> Place {
        self.push(AND, 0, 0, mask)
    }

    /// A comparison of the accumulator with `k`. `yes` and `no` may be any distance away.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Place {
        // Bringing `no` near may write one instruction more, so `yes` keeps one in reserve.
        let yes = self.near(yes, 1);
        let no = self.near(no, 0);
        let (jt, jf) = (self.distance(yes), self.distance(no));
        let short = "brought near before the branch";
        self.push(code, jt.try_into().expect(short), jf.try_into().expect(short), k)
    }

    /// Makes sure that what is written next, falling through, arrives at `target`.
    pub(super) fn fall_to(&mut self, target: Target) -> Place {
        let last = Place(self.reversed.len().wrapping_sub(1));
        match target {
            Target::Place(place) if place == last => place,
            Target::Place(place) => self.trampoline(place),
            Target::Return(verdict) => self.place_return(verdict),
        }
    }

    pub(super) fn finish(mut self) -> Program {
        self.reversed.reverse();
        Program { instructions: self.reversed }
    }

    /// A place equal to `target` that an 8-bit jump reaches, also after `reserve` more
    /// instructions: the target itself, else a trampoline to it.
    fn near(&mut self, target: Target, reserve: usize) -> Place {
        let limit = usize::from(u8::MAX) - reserve;
        match target {
            Target::Place(place) if self.distance(place) <= limit => place,
            Target::Place(place) => self.trampoline(place),
            Target::Return(verdict) => {
                let known = self.returns.iter().find(|(known, _)| *known == verdict);
                match known {
                    Some((_, place)) if self.distance(*place) <= limit => *place,
                    _ => self.place_return(verdict),
                }
            }
        }
    }

    fn trampoline(&mut self, to: Place) -> Place {
        let distance = u32::try_from(self.distance(to)).expect("a program is shorter than 4 GiB");
        self.push(JUMP, 0, 0, distance)
    }

    fn place_return(&mut self, verdict: u32) -> Place {
        let place = self.push(RETURN, 0, 0, verdict);
        match self.returns.iter_mut().find(|(known, _)| *known == verdict) {
            Some(entry) => entry.1 = place,
            None => self.returns.push((verdict, place)),
        }
        place
    }

    /// Instructions between the next one written and `place`.
    fn distance(&self, place: Place) -> usize {
        self.reversed.len() - place.0 - 1
    }

    fn push(&mut self, code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Place {
        self.reversed.push(Instruction { code, jump_true, jump_false, operand });
        Place(self.reversed.len() - 1)
    }
}
