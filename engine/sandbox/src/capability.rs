//! Linux capabilities: names, numbers, Docker's and our default sets, `--cap-add` and `--cap-drop`.
//!
//! Not here: giving them to a process.

use std::fmt;

/// One capability of the kernel, `CAP_CHOWN` (0) to `CAP_CHECKPOINT_RESTORE` (40).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

/// A word of `--cap-add` or `--cap-drop` that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {word:?}")]
pub struct UnknownCapability {
    /// The word as it was given.
    pub word: String,
}

macro_rules! capabilities {
    ($($name:ident = $number:literal,)*) => {
        impl Capability {
            $(
                #[doc = concat!("`CAP_", stringify!($name), "`")]
                pub const $name: Self = Self($number);
            )*

            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }

        /// Kernel names, by number.
        const NAMES: &[&str] = &[$(concat!("CAP_", stringify!($name))),*];
    };
}

capabilities! {
    CHOWN = 0,
    DAC_OVERRIDE = 1,
    DAC_READ_SEARCH = 2,
    FOWNER = 3,
    FSETID = 4,
    KILL = 5,
    SETGID = 6,
    SETUID = 7,
    SETPCAP = 8,
    LINUX_IMMUTABLE = 9,
    NET_BIND_SERVICE = 10,
    NET_BROADCAST = 11,
    NET_ADMIN = 12,
    NET_RAW = 13,
    IPC_LOCK = 14,
    IPC_OWNER = 15,
    SYS_MODULE = 16,
    SYS_RAWIO = 17,
    SYS_CHROOT = 18,
    SYS_PTRACE = 19,
    SYS_PACCT = 20,
    SYS_ADMIN = 21,
    SYS_BOOT = 22,
    SYS_NICE = 23,
    SYS_RESOURCE = 24,
    SYS_TIME = 25,
    SYS_TTY_CONFIG = 26,
    MKNOD = 27,
    LEASE = 28,
    AUDIT_WRITE = 29,
    AUDIT_CONTROL = 30,
    SETFCAP = 31,
    MAC_OVERRIDE = 32,
    MAC_ADMIN = 33,
    SYSLOG = 34,
    WAKE_ALARM = 35,
    BLOCK_SUSPEND = 36,
    AUDIT_READ = 37,
    PERFMON = 38,
    BPF = 39,
    CHECKPOINT_RESTORE = 40,
}

/// What Docker gives a container, by number.
pub const DOCKER_DEFAULT: &[Capability] = &[
    Capability::CHOWN,
    Capability::DAC_OVERRIDE,
    Capability::FOWNER,
    Capability::FSETID,
    Capability::KILL,
    Capability::SETGID,
    Capability::SETUID,
    Capability::SETPCAP,
    Capability::NET_BIND_SERVICE,
    Capability::NET_RAW,
    Capability::SYS_CHROOT,
    Capability::MKNOD,
    Capability::AUDIT_WRITE,
    Capability::SETFCAP,
];

/// What Hull gives a container, by number: Docker's set without device nodes (MKNOD), forged
/// packets (NET_RAW) and entries in the host's audit log (AUDIT_WRITE).
pub const DEFAULT: &[Capability] = &[
    Capability::CHOWN,
    Capability::DAC_OVERRIDE,
    Capability::FOWNER,
    Capability::FSETID,
    Capability::KILL,
    Capability::SETGID,
    Capability::SETUID,
    Capability::SETPCAP,
    Capability::NET_BIND_SERVICE,
    Capability::SYS_CHROOT,
    Capability::SETFCAP,
];

impl Capability {
    /// The capability with this kernel number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The kernel's number, 0 to 40.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its bit in the 64-bit sets of `/proc/self/status`.
    pub const fn bit(self) -> u64 {
        1 << self.0
    }

    /// The kernel's name, such as `CAP_KILL`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// Reads a name in any case, with or without `CAP_`.
    ///
    /// # Errors
    /// `UnknownCapability` for anything else, also `ALL`, which is not one capability.
    pub fn parse(word: &str) -> Result<Self, UnknownCapability> {
        let upper = word.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        Self::ALL
            .iter()
            .copied()
            .find(|capability| &capability.name()["CAP_".len()..] == bare)
            .ok_or_else(|| UnknownCapability { word: word.to_owned() })
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Applies `--cap-add` and `--cap-drop` to a set, as Docker does: adding `ALL` gives everything
/// but what is dropped; dropping `ALL` leaves only what is added; otherwise drops come first,
/// so what is both dropped and added stays.
///
/// Words are names in any case, with or without `CAP_`, or `ALL`. The result is in the order of
/// the numbers, each once.
///
/// # Errors
/// `UnknownCapability` for the first word that names none.
pub fn adjust(
    base: &[Capability],
    add: &[impl AsRef<str>],
    drop: &[impl AsRef<str>],
) -> Result<Vec<Capability>, UnknownCapability> {
    let add = Words::parse(add)?;
    let drop = Words::parse(drop)?;
    let holds = |capability: &Capability| {
        if add.all {
            !drop.named.contains(capability)
        } else if drop.all {
            add.named.contains(capability)
        } else {
            add.named.contains(capability)
                || base.contains(capability) && !drop.named.contains(capability)
        }
    };
    Ok(Capability::ALL.iter().copied().filter(holds).collect())
}

struct Words {
    all: bool,
    named: Vec<Capability>,
}

impl Words {
    fn parse(words: &[impl AsRef<str>]) -> Result<Self, UnknownCapability> {
        let mut parsed = Self { all: false, named: Vec::new() };
        for word in words {
            let word = word.as_ref();
            if word.eq_ignore_ascii_case("ALL") || word.eq_ignore_ascii_case("CAP_ALL") {
                parsed.all = true;
            } else {
                parsed.named.push(Capability::parse(word)?);
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        for (number, capability) in Capability::ALL.iter().enumerate() {
            let number = u8::try_from(number).unwrap();
            assert_eq!(capability.number(), number);
            assert_eq!(Capability::from_number(number), Some(*capability));
            assert_eq!(Capability::parse(capability.name()), Ok(*capability));
        }
        assert_eq!(Capability::ALL.len(), 41);
        assert_eq!(Capability::from_number(41), None);
        assert_eq!(Capability::KILL.name(), "CAP_KILL");
        assert_eq!(Capability::BPF.bit(), 1 << 39);
    }

    #[test]
    fn words() {
        for word in ["net_raw", "CAP_NET_RAW", "Net_Raw", "cap_net_raw"] {
            assert_eq!(Capability::parse(word), Ok(Capability::NET_RAW), "{word}");
        }
        for word in ["", "CAP_", "ALL", "CAP_CAP_KILL", "kill ", "-KILL", "5", "K\u{130}LL"] {
            assert_eq!(
                Capability::parse(word),
                Err(UnknownCapability { word: word.to_owned() }),
                "{word}"
            );
        }
    }

    #[track_caller]
    fn check(add: &[&str], drop: &[&str], expected: &[Capability]) {
        let base = &[Capability::CHOWN, Capability::KILL];
        assert_eq!(adjust(base, add, drop).unwrap(), expected);
    }

    #[test]
    fn adding_and_dropping() {
        use Capability as C;
        check(&[], &[], &[C::CHOWN, C::KILL]);
        check(&["sys_admin", "SYS_ADMIN"], &["kill"], &[C::CHOWN, C::SYS_ADMIN]);
        check(&["kill"], &["kill"], &[C::CHOWN, C::KILL]);
        check(&["bpf"], &["all"], &[C::BPF]);
        check(&[], &["ALL"], &[]);
        let all_but_bpf: Vec<_> = C::ALL.iter().copied().filter(|c| *c != C::BPF).collect();
        check(&["ALL"], &["cap_bpf"], &all_but_bpf);
        check(&["ALL"], &["ALL"], C::ALL);
        let unknown = adjust(&[], &["KILL", "NOPE"], &["" as &str; 0]).unwrap_err();
        assert_eq!(unknown.to_string(), "unknown capability \"NOPE\"");
    }

    #[test]
    fn our_default_is_dockers_without_three() {
        let expected =
            adjust(DOCKER_DEFAULT, &["" as &str; 0], &["MKNOD", "NET_RAW", "AUDIT_WRITE"]);
        assert_eq!(expected.unwrap(), DEFAULT);
    }
}
