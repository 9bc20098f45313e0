//! Many containers and many clients of one daemon, which dies in the middle.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hull_test_support::busybox::busybox_image;
use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, eventually, held};

/// Containers, clients, and how long they are at it.
fn size() -> (usize, usize, Duration) {
    let full = std::env::var_os("HULL_FULL").is_some_and(|full| full == "1");
    if full { (200, 50, Duration::from_secs(60)) } else { (8, 6, Duration::from_secs(1)) }
}

fn name(number: usize) -> String {
    format!("box{number}")
}

/// Asks as clients do, until it is over; how often, and how long the slowest answer took.
fn ask(socket: &Path, client: usize, containers: usize, until: Instant) -> (usize, Duration) {
    let (mut asked, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < until || asked == 0 {
        let name = name((client * 7 + asked) % containers);
        let request = match (client + asked) % 4 {
            0 => "GET /containers/json".to_owned(),
            1 => format!("GET /containers/{name}/json"),
            // Every second one as `stats --no-stream` asks: with a second between two samples.
            2 if asked % 8 < 4 => format!("GET /containers/{name}/stats?stream=0"),
            2 => format!("GET /containers/{name}/stats?stream=0&one-shot=1"),
            _ => "GET /events?since=1&until=2".to_owned(),
        };
        let begun = Instant::now();
        let mut stream = UnixStream::connect(socket).unwrap();
        // A machine that is busy with other things is slow, not broken.
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: hull\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
        slowest = slowest.max(begun.elapsed());
        asked += 1;
    }
    (asked, slowest)
}

/// How many clients listen to events, and how many processes each has heard of.
#[derive(Default)]
struct Heard {
    listening: AtomicUsize,
    ends: Vec<AtomicUsize>,
}

/// Listens to events until the daemon goes.
fn listen(socket: &Path, client: usize, heard: &Heard) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: hull\r\n\r\n").unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if line.starts_with("HTTP/1.1 200 ") {
            heard.listening.fetch_add(1, Ordering::Relaxed);
        }
        if line.contains("\"exec_die\"") {
            heard.ends[client].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Memory of a daemon's own (KiB) once what is over is given back.
fn at_rest(pid: i32) -> u64 {
    let looks = (0..6).map(|_| {
        std::thread::sleep(Duration::from_millis(500));
        held(pid)
    });
    looks.min().unwrap()
}

fn follower(hull: &Hull, arguments: &[&str]) -> Child {
    hull.command(arguments).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn privileged_a_daemon_that_dies_loses_no_line_and_its_memory_is_flat() {
    let Some(hull) = Hull::new() else { return };
    let Some(image) = busybox_image() else { return };
    hull.load(&image, "busybox");
    let (containers, clients, time) = size();
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    // Together about 200 lines each second: it is the daemon that is to have work.
    let pause = containers * 5000;
    let script =
        format!("i=0; while [ ! -e /stop ]; do echo line $i; i=$((i+1)); usleep {pause}; done");
    for number in 0..containers {
        hull.ok(&[
            "--host",
            &host,
            "run",
            "-d",
            "--name",
            &name(number),
            "busybox",
            "sh",
            "-c",
            &script,
        ]);
    }
    let ends = (0..clients).map(|_| AtomicUsize::new(0)).collect();
    let heard = Arc::new(Heard { ends, ..Heard::default() });
    let listeners: Vec<_> = (0..clients)
        .map(|client| {
            let (socket, heard) = (daemon.socket().to_owned(), Arc::clone(&heard));
            std::thread::spawn(move || listen(&socket, client, &heard))
        })
        .collect();
    let all = || heard.listening.load(Ordering::Relaxed) == clients;
    assert!(eventually(Duration::from_secs(60), all), "not all hear of events");
    // The first round is the one that fills what is kept.
    let warm = Instant::now() + time / 2;
    std::thread::scope(|scope| {
        (0..clients).for_each(|client| {
            drop(scope.spawn({
                let socket = daemon.socket();
                move || ask(socket, client, containers, warm)
            }))
        });
    });
    let pid = daemon.pid().as_raw_nonzero().get();
    let before = at_rest(pid);
    let until = Instant::now() + time;
    let most = AtomicU64::new(0);
    let answers: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < until {
                most.fetch_max(held(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let asking: Vec<_> = (0..clients)
            .map(|client| {
                let socket = daemon.socket();
                scope.spawn(move || ask(socket, client, containers, until))
            })
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    // What happens is told to everybody who listens, once.
    let processes = clients.min(20);
    for number in 0..processes {
        hull.ok(&["exec", &name(number % containers), "true"]);
    }
    let count = |ends: &AtomicUsize| ends.load(Ordering::Relaxed);
    let told = eventually(Duration::from_secs(60), || {
        heard.ends.iter().all(|ends| count(ends) >= processes)
    });
    let counts: Vec<_> = heard.ends.iter().map(count).collect();
    assert!(told && counts.iter().all(|&ends| ends == processes), "{processes}: {counts:?}");
    let (most, after) = (most.into_inner(), at_rest(pid));
    let asked: usize = answers.iter().map(|(asked, _)| asked).sum();
    let slowest = answers.iter().map(|(_, slowest)| *slowest).max();
    eprintln!(
        "{asked} answers to {clients} clients about {containers} containers in {time:?}, the \
         slowest after {slowest:?}; the daemon held {before} KiB before, at most {most} KiB \
         meanwhile, and {after} KiB after"
    );
    assert!(after <= before + (2 << 10), "{before} KiB, then {after} KiB");
    assert!(most <= before + (24 << 10), "{before} KiB, then up to {most} KiB");
    let begun = Instant::now();
    assert_eq!(hull.ok(&["--host", &host, "ps", "-q"]).lines().count(), containers);
    eprintln!("ps: {:?}", begun.elapsed());
    daemon.kill();
    listeners.into_iter().for_each(|listener| listener.join().unwrap());
    // Nobody but the shims is there now, and what they print is not lost.
    let lines = |number: usize| hull.ok(&["logs", &name(number)]).lines().count();
    let now = lines(0);
    assert!(eventually(Duration::from_secs(20), || lines(0) > now + 2), "the log stands still");
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    assert_eq!(hull.ok(&["--host", &host, "ps", "-q"]).lines().count(), containers);
    for number in 0..containers {
        // The container may end before the process that ends it.
        let code = hull.run(&["exec", &name(number), "touch", "/stop"]).code;
        assert!(matches!(code, 0 | 137), "{code}");
    }
    for number in 0..containers {
        assert_eq!(hull.ok(&["--host", &host, "wait", &name(number)]), "0");
        let mut logs = follower(&hull, &["logs", &name(number)]);
        let output = BufReader::new(logs.stdout.take().unwrap());
        for (expected, line) in output.lines().enumerate() {
            assert_eq!(line.unwrap(), format!("line {expected}"), "{}", name(number));
        }
        assert!(logs.wait().unwrap().success());
    }
    for number in 0..containers {
        hull.ok(&["rm", &name(number)]);
    }
    assert_eq!(daemon.stop(), Some(0));
    hull.finish();
}
