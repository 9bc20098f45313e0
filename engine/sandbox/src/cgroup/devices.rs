//! Which device nodes the processes of a container may use.

/// A device node that every container has: name, major and minor number.
pub(crate) const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Rules for version 1: everything is denied, then these are written to `devices.allow`.
///
/// Making nodes is left to `CAP_MKNOD`; using them is not. 5:1 is the console, 5:2 and 136:* are
/// pseudo terminals.
pub(crate) const V1_ALLOWED: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];
