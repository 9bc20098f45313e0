//! Further processes in a running container.

use crate::Test;
use crate::container::{Container, exec, process, stop};
use hull_sandbox::Stdio;

pub(crate) const TESTS: &[Test] = &[("privileged_exec_joins", joins)];

fn joins() {
    let mut container = Container::new(&["sleep"]);
    let running = container.start(Stdio::default()).unwrap();
    let ended = exec(&running, &process(&["cat", "/proc/self/status"])).unwrap();
    println!("{}", ended.output);
    stop(&running);
    container.assert_gone();
}
