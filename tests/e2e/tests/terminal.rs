//! Containers on a terminal, driven as a person would.

use hull_test_support::Hull;
use hull_test_support::busybox::busybox_image;
use hull_test_support::shelf::Shelf;
use hull_test_support::terminal::Terminal;

#[test]
fn privileged_shell_on_a_terminal() {
    let Some(hull) = Hull::with_busybox() else { return };
    let command = hull.command(&["run", "--rm", "-it", "--name", "box", "busybox"]);
    let mut terminal = Terminal::start(&command, 101, 37);
    terminal.expect("# ");
    terminal.send("tty; stty size\n");
    terminal.expect("/dev/pts/0");
    terminal.expect("37 101");
    terminal.expect("# ");
    terminal.resize(90, 20);
    terminal.send("sleep 0.3; stty size\n");
    terminal.expect("20 90");
    terminal.expect("# ");
    terminal.send("sleep 100\n");
    // The shell reads its line without signals: the key must come after it has started sleep.
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.send("\x03");
    terminal.expect("# ");
    terminal.send("echo $TERM; exit 17\n");
    terminal.expect("xterm");
    let (code, shown) = terminal.finish();
    assert_eq!(code, 17, "{shown}");
    hull.finish();
}

#[test]
fn privileged_exec_on_a_terminal_and_detach() {
    let Some(hull) = Hull::with_busybox() else { return };
    hull.ok(&["run", "-dit", "--name", "box", "busybox"]);
    let mut terminal = Terminal::start(&hull.command(&["exec", "-it", "box", "sh"]), 80, 24);
    terminal.expect("# ");
    terminal.send("tty; exit 3\n");
    terminal.expect("/dev/pts/1");
    assert_eq!(terminal.finish().0, 3);
    let mut terminal = Terminal::start(&hull.command(&["attach", "box"]), 80, 24);
    terminal.send("echo from $((40+2))\n");
    terminal.expect("from 42");
    // ctrl-p ctrl-q leaves the container running.
    terminal.send("\x10\x11");
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(hull.inspect("box", "{{.State.Running}}"), "true");
    hull.finish();
}

#[test]
fn privileged_terminal_needs_a_terminal() {
    let Some(hull) = Hull::with_busybox() else { return };
    let output = hull.run_with_input(&["run", "--rm", "-it", "busybox", "true"], b"x");
    assert_ne!(output.code, 0);
    assert!(output.stderr.to_lowercase().contains("tty"), "{}", output.stderr);
    // A terminal for the container alone is fine.
    assert_eq!(hull.run(&["run", "--rm", "-t", "busybox", "tty"]).stdout, "/dev/pts/0\r\n");
    hull.finish();
}

#[test]
fn privileged_pull_on_a_terminal_and_ctrl_c() {
    let Some(hull) = Hull::new() else { return };
    let Some(image) = busybox_image() else { return };
    let shelf = Shelf::new();
    shelf.image("box", "v1", &image);
    let (digest, size) = shelf.blobs()[0].clone();
    let (ending, of) = (format!("/blobs/{digest}"), shelf.clone());
    // The first answer ends in the middle.
    let registry = shelf.serve_with(move |request| {
        let whole = request.path().ends_with(&ending) && request.range_start().is_none();
        (whole && request.method == "GET").then(|| of.answer(request).stall(size / 2))
    });
    let name = format!("{}/box:v1", registry.address());
    let mut terminal = Terminal::start(&hull.command(&["pull", &name]), 100, 24);
    terminal.expect("v1: Pulling from box");
    terminal.expect("Downloading");
    terminal.expect("% ");
    terminal.send("\x03");
    let (code, shown) = terminal.finish();
    assert_eq!(code, 130, "{shown}");
    let words = "interrupted: the next pull continues where this one ended\r\n";
    assert!(shown.ends_with(words), "{shown}");
    let terminal = Terminal::start(&hull.command(&["pull", &name]), 100, 24);
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("Pull complete") && shown.contains("1 layer, "), "{shown}");
    // What the first one had under way besides is collection's.
    hull.ok(&["system", "prune", "-f"]);
    hull.finish();
}
