//! What a filter says about each system call, before it becomes a program.

/// `ENOSYS`, the same on every architecture here.
pub(super) const ENOSYS: u16 = 38;
/// `EPERM`.
pub(super) const EPERM: u16 = 1;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let it through.
    Allow,
    /// Let it through and log it.
    Log,
    /// Fail with this error number.
    Errno(u16),
    /// Raise `SIGSYS`.
    Trap,
    /// Ask a tracer, with this message; `ENOSYS` where there is none.
    Trace(u16),
    /// End the thread.
    KillThread,
    /// End the process.
    KillProcess,
}

impl Action {
    /// The kernel's number (`SECCOMP_RET_*` with data).
    pub(super) fn verdict(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Log => 0x7ffc_0000,
            Self::Trace(message) => 0x7ff0_0000 | u32::from(message),
            Self::Errno(number) => 0x0005_0000 | u32::from(number),
            Self::Trap => 0x0003_0000,
            Self::KillThread => 0x0000_0000,
            Self::KillProcess => 0x8000_0000,
        }
    }

    /// Whether a call the profile's author never heard of gets through, or to a tracer who can
    /// judge it: then it is not answered with `ENOSYS`.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Trace(_))
    }
}

/// How an argument is compared, unsigned and 64 bits wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// argument != value
    NotEqual(u64),
    /// argument < value
    Less(u64),
    /// argument <= value
    LessOrEqual(u64),
    /// argument == value
    Equal(u64),
    /// argument >= value
    GreaterOrEqual(u64),
    /// argument > value
    Greater(u64),
    /// argument & mask == value
    MaskedEqual {
        /// Bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub operator: Operator,
}

/// One alternative for a call: `action` where all `conditions` hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

/// What is said about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No rule: the table's default.
    Default,
    /// The same for all arguments.
    Always(Action),
    /// The first rule that matches, else the table's default.
    Conditional(Vec<Rule>),
}

/// What is said about every call of the native architecture.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) default: Action,
    /// By number; ends with the newest call any rule names.
    pub(super) calls: Vec<Verdict>,
}

impl Table {
    pub(super) fn new(default: Action) -> Self {
        Self { default, calls: Vec::with_capacity(512) }
    }

    /// Adds a rule for call `number`. Of two rules without conditions the first counts.
    pub(super) fn add(&mut self, number: u32, conditions: &[Condition], action: Action) {
        let entry = self.entry(number);
        if conditions.is_empty() {
            if !matches!(entry, Verdict::Always(_)) {
                *entry = Verdict::Always(action);
            }
            return;
        }
        if let Verdict::Default = entry {
            *entry = Verdict::Conditional(Vec::new());
        }
        let Verdict::Conditional(rules) = entry else { return };
        if has_repeated_argument(conditions) {
            rules.extend(conditions.iter().map(|c| Rule { conditions: vec![*c], action }));
        } else {
            rules.push(Rule { conditions: conditions.to_vec(), action });
        }
    }

    fn entry(&mut self, number: u32) -> &mut Verdict {
        let index = number as usize;
        if index >= self.calls.len() {
            self.calls.resize(index + 1, Verdict::Default);
        }
        &mut self.calls[index]
    }
}

fn has_repeated_argument(conditions: &[Condition]) -> bool {
    let mut seen = 0u8;
    conditions.iter().any(|condition| {
        let bit = 1 << condition.argument;
        let repeated = seen & bit != 0;
        seen |= bit;
        repeated
    })
}
