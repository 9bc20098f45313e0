//! What a container sees, and what it does not.

use crate::Test;
use crate::container::Container;

pub(crate) const TESTS: &[Test] = &[
    ("privileged_runs_and_exits", runs_and_exits),
    ("privileged_ids_and_capabilities", ids_and_capabilities),
];

fn runs_and_exits() {
    let mut container = Container::new(&["exit", "7"]);
    let ended = container.run().unwrap();
    assert_eq!((ended.code, &*ended.output), (7, ""));
    container.assert_gone();
}

fn ids_and_capabilities() {
    let mut container = Container::new(&[
        "cat",
        "/proc/self/status",
        "/proc/self/uid_map",
        "/proc/self/mountinfo",
        "/proc/self/cgroup",
    ]);
    println!("{}", container.output());
}
