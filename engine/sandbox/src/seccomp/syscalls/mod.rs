//! Names and numbers of system calls.
//!
//! Facts of the kernel, up to Linux 6.18. A name that one architecture lacks (`open` on
//! aarch64) is simply absent from its table.

mod aarch64;
mod x86_64;

use std::cmp::Ordering;

/// An architecture this compiler writes filters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64, also known as amd64.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// The architecture this program was built for.
    pub const NATIVE: Self =
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// The kernel's `AUDIT_ARCH_*`.
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// The first call number that belongs to another interface of the same audit architecture:
    /// x32 sets bit 30. No architecture has calls above it.
    pub(super) fn end_of_numbers(self) -> u32 {
        0x4000_0000
    }

    /// The name Docker's profiles use in `includes` and `excludes`.
    pub(super) fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The name libseccomp uses in `architectures`.
    pub(super) fn libseccomp_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    /// The number of the call `name`, if this architecture has it.
    pub(super) const fn number(self, name: &str) -> Option<u32> {
        let table = self.table();
        let (mut from, mut to) = (0, table.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            let (known, number) = table[middle];
            match compare(known.as_bytes(), name.as_bytes()) {
                Ordering::Equal => return Some(number),
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
            }
        }
        None
    }

    pub(super) const fn table(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::X86_64 => x86_64::TABLE,
            Self::Aarch64 => aarch64::TABLE,
        }
    }
}

/// `Ord::cmp` of byte strings, for the compiler.
const fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let mut at = 0;
    while at < left.len() && at < right.len() {
        if left[at] != right[at] {
            return if left[at] < right[at] { Ordering::Less } else { Ordering::Greater };
        }
        at += 1;
    }
    if left.len() == right.len() {
        Ordering::Equal
    } else if left.len() < right.len() {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}
