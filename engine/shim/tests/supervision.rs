//! The built shim with real containers.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod engine;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hull_shim::client::{ControlError, StartError};
use hull_shim::protocol::{AttachOptions, ExecState, FailureKind};
use hull_shim::recover::Recovered;
use hull_shim::state::Status;

use crate::engine::{
    Engine, Output, eventually, everything, exec, expected_lines, read_frames, read_until,
};

#[test]
fn privileged_the_exit_code_is_told_and_recorded() {
    let Some(engine) = Engine::new("exit_code", &["exit", "7"]) else { return };
    let started = engine.start();
    let exit = started.exit.wait().unwrap();
    assert_eq!((exit.code, exit.oom_killed, exit.error.as_str()), (7, false, ""));
    let state = engine.state().unwrap();
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Exited, 7, 0));
    assert!(state.started_at < state.finished_at);
    engine.assert_nothing_left();
    // It starts again, at once.
    let again = engine.start();
    assert_eq!(again.exit.wait().unwrap().code, 7);
    assert_eq!(engine.start().exit.wait().unwrap().code, 7);
    engine.assert_nothing_left();
}

#[test]
fn privileged_clients_attached_before_the_start_see_every_byte() {
    const LINES: u64 = 30_000;
    let Some(mut engine) = Engine::new("every_byte", &["lines", "30000"]) else { return };
    engine.request.log.max_size = None;
    let (started, stream) = engine.start_attached();
    let output = read_frames(&stream);
    assert!(output.stdout == expected_lines(LINES), "{} bytes", output.stdout.len());
    assert!(output.stderr.is_empty());
    assert_eq!(started.exit.wait().unwrap().code, 0);
    assert!(engine.log().stdout == expected_lines(LINES));
    engine.assert_nothing_left();
}

#[test]
fn privileged_both_outputs_arrive_on_their_own() {
    let Some(mut engine) = Engine::new("both", &["say", "to out", "to err\n"]) else { return };
    let (_started, stream) = engine.start_attached();
    let expected = Output { stdout: b"to out".to_vec(), stderr: b"to err\n".to_vec() };
    assert_eq!(read_frames(&stream), expected);
    assert_eq!(engine.log(), expected);
}

#[test]
fn privileged_auto_remove_leaves_nothing() {
    let Some(engine) = Engine::new("auto_remove", &["write", "/file", "text"]) else { return };
    let mut engine = engine.auto_remove();
    std::fs::create_dir_all(engine.data().join("volumes/anonymous/_data")).unwrap();
    engine.request.auto_remove.as_mut().unwrap().volumes = vec!["anonymous".into()];
    let started = engine.start();
    let exit = started.exit.wait().unwrap();
    assert_eq!((exit.code, exit.error.as_str()), (0, ""));
    assert!(!engine.container().exists(), "gone before the exit is told");
    assert!(!engine.data().join("volumes/anonymous").exists());
    engine.assert_nothing_left();
}

#[test]
fn privileged_a_start_that_fails_says_why() {
    for (program, kind, code) in
        [("/missing", FailureKind::NotFound, 127), ("/tmp", FailureKind::NotExecutable, 126)]
    {
        let test = format!("fails_{code}");
        let Some(mut engine) = Engine::new(&test, &[]) else { return };
        engine.request.spec.process.args = vec![program.into()];
        std::fs::create_dir_all(engine.container().join("rw/tmp")).unwrap();
        let failed = engine.start_with(&[]).unwrap_err();
        let StartError::Failed(failure) = failed else { panic!("{failed}") };
        assert_eq!((failure.kind, failure.exit_code()), (kind, code), "{failure}");
        let state = engine.state().unwrap();
        assert_eq!((state.status, state.exit_code), (Status::Created, code));
        assert_eq!(state.error, failure.message);
        engine.assert_nothing_left();

        engine = engine.auto_remove();
        assert!(matches!(engine.start_with(&[]), Err(StartError::Failed(_))));
        engine.assert_nothing_left();
    }
}

#[test]
fn privileged_stdin_ends_when_the_client_is_done() {
    let Some(engine) = Engine::new("stdin", &["cat"]) else { return };
    let mut engine = engine.open_stdin();
    let (started, mut stream) = engine.start_attached();
    let sent = expected_lines(20_000);
    let mut writer = stream.try_clone().unwrap();
    let expected = sent.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let output = read_frames(&mut stream);
    sender.join().unwrap();
    let end = format!("{} bytes\n", expected.len());
    assert!(output.stdout == [expected, end.into_bytes()].concat());
    assert_eq!(started.exit.wait().unwrap().code, 0);
}

#[test]
fn privileged_what_was_typed_arrives_though_the_client_left() {
    let Some(engine) = Engine::new("typed", &["cat"]) else { return };
    let mut engine = engine.open_stdin();
    let (started, mut stream) = engine.start_attached();
    stream.write_all(b"last words\n").unwrap();
    drop(stream);
    assert_eq!(started.exit.wait().unwrap().code, 0);
    assert_eq!(engine.log().stdout, b"last words\n11 bytes\n");
}

#[test]
fn privileged_killing_the_shim_ends_the_container() {
    for remove in [false, true] {
        let test = format!("killed_{remove}");
        let Some(mut engine) = Engine::new(&test, &["sleep"]) else { return };
        if remove {
            engine = engine.auto_remove();
        }
        let started = engine.start();
        assert_eq!(engine.state().unwrap().status, Status::Running);
        assert!(matches!(engine.recover(), Recovered::Unchanged(Some(_))), "it lives");
        started.shim.kill().unwrap();
        started.shim.wait().unwrap();
        assert!(matches!(started.exit.wait(), Err(ControlError::NotRunning)));
        let process = format!("/proc/{}/exe", started.pid);
        eventually("its process is gone", || std::fs::read_link(&process).is_err());
        // Several may find it at once.
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let found: Vec<_> = (0..4).map(|_| scope.spawn(|| engine.try_recover())).collect();
            found.into_iter().map(|found| found.join().unwrap()).collect()
        });
        if remove {
            assert!(outcomes.iter().any(|found| matches!(found, Some(Recovered::Removed))));
        } else {
            let state = engine.state().unwrap();
            assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
            assert_eq!(state.error, "supervisor lost");
            assert_eq!(engine.recover(), Recovered::Unchanged(Some(state)));
        }
        engine.assert_nothing_left();
    }
}

#[test]
fn privileged_execs_run_beside_the_first_process() {
    let Some(engine) = Engine::new("exec", &["sleep"]) else { return };
    let engine = engine.auto_remove();
    let started = engine.start();
    engine.with_shim(|shim| {
        let done = shim.exec(exec("e1", &["say", "out", "err"])).unwrap();
        assert!(matches!(shim.exec_state("e1"), Ok(ExecState { pid, .. }) if pid == done.pid));
        let output = read_frames(UnixStream::from(done.stream.unwrap()));
        let expected = Output { stdout: b"out".to_vec(), stderr: b"err".to_vec() };
        assert_eq!(output, expected);
        assert_eq!(done.exit.wait().unwrap().code, 0);
        assert_eq!(shim.exec_state("e1").unwrap().exit_code, Some(0));
        assert_eq!(shim.exec_wait("e1").unwrap().wait().unwrap().code, 0);

        let piped = shim.exec(exec("e2", &["cat"])).unwrap();
        let mut stream = UnixStream::from(piped.stream.unwrap());
        stream.write_all(b"through").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_frames(stream).stdout, b"through7 bytes\n");

        let missing = shim.exec(hull_shim::protocol::ExecRequest {
            process: hull_sandbox::spec::Process {
                args: vec!["/missing".into()],
                ..engine::process(&[])
            },
            ..exec("e3", &[])
        });
        let Err(ControlError::Failed(failure)) = missing else { panic!("{missing:?}") };
        assert_eq!(failure.exit_code(), 127);
        assert!(matches!(shim.exec_state("e3"), Err(ControlError::Failed(_))));

        let mut detached = exec("e4", &["exit", "3"]);
        detached.attach = None;
        assert_eq!(shim.exec(detached).unwrap().exit.wait().unwrap().code, 3);

        // One that is kept is known to all, and started once by whoever comes.
        let kept = || hull_shim::protocol::ExecRequest {
            about: "kept".to_owned(),
            ..exec("k1", &["say", "out", "err"])
        };
        shim.exec_create(kept()).unwrap();
        assert!(matches!(shim.exec_create(kept()), Err(ControlError::Failed(_))));
        let state = shim.exec_state("k1").unwrap();
        assert!(state.made && state.about == "kept" && state.exit_code.is_none());
        let started = shim.exec_start("k1", true, None).unwrap();
        assert_eq!(read_frames(UnixStream::from(started.stream.unwrap())).stdout, b"out");
        assert_eq!(started.exit.wait().unwrap().code, 0);
        assert!(matches!(shim.exec_start("k1", true, None), Err(ControlError::Failed(_))));
        let state = shim.exec_state("k1").unwrap();
        assert!(!state.made && state.about == "kept" && state.exit_code == Some(0));

        // What an exec leaves in the background may go on writing.
        let left = shim.exec(exec("e5", &["background"])).unwrap();
        assert_eq!(left.exit.wait().unwrap().code, 0);
        std::thread::sleep(Duration::from_millis(300));
        let count = shim.exec(exec("e6", &["processes"])).unwrap();
        let output = read_frames(UnixStream::from(count.stream.unwrap()));
        assert_eq!(output.stdout, b"3\n", "sleep, slow-lines, processes");

        let running = shim.exec(exec("e7", &["sleep"])).unwrap();
        shim.signal(9).unwrap();
        assert_eq!(running.exit.wait().unwrap().code, 137, "dies with the container");
    });
    assert_eq!(started.exit.wait().unwrap().code, 137);
    engine.assert_nothing_left();
}

#[test]
fn privileged_terminals_are_resized_and_detached_from() {
    let Some(engine) = Engine::new("terminal", &["size", "2"]) else { return };
    let mut engine = engine.terminal();
    let (started, mut stream) = engine.start_attached();
    assert_eq!(read_until(&mut stream, "\n"), "80 25\r\n");
    stream.write_all(b"\x10\x11").unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "detached");
    engine.with_shim(|shim| {
        let mut visitor = UnixStream::from(shim.attach(&everything()).unwrap());
        shim.resize(120, 40, None).unwrap();
        let mut text = String::new();
        visitor.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("120 40\r\n"), "{text:?}");
    });
    assert_eq!(started.exit.wait().unwrap().code, 0);
    assert_eq!(engine.log().stdout, b"80 25\r\n120 40\r\n");

    let Some(engine) = Engine::new("exec_terminal", &["sleep"]) else { return };
    let engine = engine.auto_remove();
    let started = engine.start();
    engine.with_shim(|shim| {
        let mut request = exec("t", &["size", "2"]);
        request.process.terminal = true;
        request.process.terminal_size = Some((100, 30));
        let exec = shim.exec(request).unwrap();
        let mut stream = UnixStream::from(exec.stream.unwrap());
        assert_eq!(read_until(&mut stream, "\n"), "100 30\r\n");
        let Err(ControlError::Failed(_)) = shim.resize(1, 1, None) else { panic!("no terminal") };
        shim.resize(101, 31, Some("t")).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "101 31\r\n");
        assert_eq!(exec.exit.wait().unwrap().code, 0);
        shim.signal(9).unwrap();
    });
    assert_eq!(started.exit.wait().unwrap().code, 137);
}

#[test]
fn privileged_a_slow_owner_holds_up_the_container_and_nobody_else() {
    const LINES: u64 = 60_000;
    let Some(mut engine) = Engine::new("slow", &["lines", "60000"]) else { return };
    engine.request.log.max_size = None;
    let (started, stream) = engine.start_attached();
    let shim = started.shim.id();
    std::thread::sleep(Duration::from_millis(300));
    let logged = engine.log().stdout.len() as u64;
    assert!(logged > 0 && logged < LINES * 64, "held up, though not from the start: {logged}");
    let dirty = memory(shim, "Private_Dirty:");
    assert!(dirty < 1000, "{dirty} KiB");
    // The shim answers all the same.
    let before = Instant::now();
    engine.with_shim(|shim| {
        assert!(shim.exec_state("none").is_err());
        let options = AttachOptions { stdout: true, ..AttachOptions::default() };
        drop(shim.attach(&options).unwrap());
    });
    assert!(before.elapsed() < Duration::from_secs(2));
    assert!(read_frames(&stream).stdout == expected_lines(LINES));
    assert_eq!(started.exit.wait().unwrap().code, 0);
    assert!(engine.log().stdout == expected_lines(LINES));
}

#[test]
fn privileged_an_exit_does_not_wait_for_a_client_that_hangs() {
    let Some(engine) = Engine::new("hangs", &["lines", "3000"]) else { return };
    let mut engine = engine.auto_remove();
    let (started, stream) = engine.start_attached();
    assert_eq!(started.exit.wait().unwrap().code, 0);
    engine.assert_nothing_left();
    assert!(read_frames(&stream).stdout == expected_lines(3000), "and yet it gets everything");
}

#[test]
fn privileged_nonsense_on_the_socket_does_no_harm() {
    let Some(engine) = Engine::new("nonsense", &["sleep"]) else { return };
    let engine = engine.auto_remove();
    let started = engine.start();
    let path = engine.run().join("shim.sock");
    let say = |bytes: &[u8]| {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(bytes).unwrap();
        socket
    };
    let silent = say(b"");
    let half = say(b"\x10\0\0\0{\"ver");
    for bad in [&b"\xff\xff\xff\xff"[..], b"\x02\0\0\0{}", b"\x03\0\0\0\xff\xff\xff"] {
        let mut answer = Vec::new();
        say(bad).read_to_end(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("invalid"), "{answer:?}");
    }
    engine.with_shim(|shim| shim.signal(15).unwrap());
    engine.with_shim(|shim| shim.signal(9).unwrap());
    assert_eq!(started.exit.wait().unwrap().code, 137);
    drop((silent, half));
    engine.assert_nothing_left();
}

#[test]
fn privileged_an_idle_shim_is_small() {
    let Some(mut engine) = Engine::new("idle", &["sleep"]) else { return };
    let (started, _stream) = engine.start_attached();
    // It has said Started, but may still be on its way to the loop.
    std::thread::sleep(Duration::from_millis(200));
    let (pss, dirty) =
        (memory(started.shim.id(), "Pss:"), memory(started.shim.id(), "Private_Dirty:"));
    println!("PSS {pss} KiB, private dirty {dirty} KiB");
    assert!(dirty < 700, "{dirty} KiB");
    // A debug build has far more code.
    assert!(cfg!(debug_assertions) || pss < 1500, "{pss} KiB");
    engine.with_shim(|shim| shim.signal(9).unwrap());
    assert_eq!(started.exit.wait().unwrap().code, 137);
}

#[test]
fn privileged_being_killed_for_want_of_memory_is_told() {
    let Some(mut engine) = Engine::new("oom", &["allocate", "200"]) else { return };
    engine.request.spec.resources.memory = Some(32 << 20);
    engine.request.spec.resources.memory_swap = Some(32 << 20);
    let exit = engine.start().exit.wait().unwrap();
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    let state = engine.state().unwrap();
    assert_eq!((state.exit_code, state.oom_killed), (137, true));
    engine.assert_nothing_left();
}

#[test]
fn privileged_a_shim_keeps_nothing_of_its_starter() {
    let Some(engine) = Engine::new("detached", &["sleep"]) else { return };
    let mut engine = engine.auto_remove();
    // It passes signals on; a first process without a handler gets only SIGKILL.
    engine.request.spec.init = true;
    // A descriptor that would be inherited.
    let leak = std::fs::File::open(engine.data().join("names")).unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let started = engine.start();
    let shim = format!("/proc/{}", started.shim.id());
    let open = std::fs::read_dir(format!("{shim}/fd")).unwrap();
    let open = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    assert!(open.filter(|path| path.ends_with("data/names")).count() == 0);
    let stat = std::fs::read_to_string(format!("{shim}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(fields[3], started.shim.id().to_string(), "it has a session of its own");
    eventually("it has left our cgroups", || {
        let groups = std::fs::read_to_string(format!("{shim}/cgroup")).unwrap();
        groups.lines().all(|line| line.ends_with(":/") || line.ends_with(":/hull/shim"))
    });
    // Neither a terminal that closes nor a host that shuts down ends it.
    let pid = started.shim.pid();
    for signal in [rustix::process::Signal::HUP, rustix::process::Signal::TERM] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    engine.with_shim(|shim| shim.signal(15).unwrap());
    assert_eq!(started.exit.wait().unwrap().code, 128 + 15);
    engine.assert_nothing_left();
}

#[test]
fn privileged_all_clients_see_the_output_and_one_may_leave() {
    let Some(engine) = Engine::new("clients", &["cat"]) else { return };
    let mut engine = engine.open_stdin();
    engine.request.stdin_once = false;
    let (started, mut owner) = engine.start_attached();
    let attach = || engine.with_shim(|shim| UnixStream::from(shim.attach(&everything()).unwrap()));
    let (visitor, mut leaving) = (attach(), attach());
    leaving.write_all(b"from a visitor\n").unwrap();
    assert!(read_until(&mut leaving, "visitor\n").ends_with("from a visitor\n"));
    // Without `stdin_once` a client that is done typing leaves, and stdin stays open.
    leaving.shutdown(Shutdown::Write).unwrap();
    assert_eq!(leaving.read(&mut [0; 8]).unwrap(), 0);
    owner.write_all(b"from the owner\n").unwrap();
    read_until(&mut owner, "owner\n");
    engine.with_shim(|shim| shim.signal(9).unwrap());
    assert_eq!(read_frames(&visitor).stdout, b"from a visitor\nfrom the owner\n");
    assert_eq!(started.exit.wait().unwrap().code, 137);
}

/// A line of /proc/PID/smaps_rollup, in KiB.
fn memory(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
