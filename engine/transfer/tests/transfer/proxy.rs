//! Proxies from the environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use hull_test_support::registry::{Answer, ScriptedRegistry};
use hull_transfer::{FailureKind, Session, Transfer};

use crate::support::{program, reference, refused, session};
use crate::tls::{Authority, registry};

/// Leads every `CONNECT` to one port of this machine; keeps the heads of the requests.
fn tunnels_to(port: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let all = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = Arc::clone(&all);
            std::thread::spawn(move || {
                // Either side may end at any time.
                let _ = tunnel(&stream, port, &all);
            });
        }
    });
    (address, heads)
}

fn tunnel(client: &TcpStream, port: u16, heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    heads.lock().unwrap().push(head);
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    let mut answers = client.try_clone()?;
    answers.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")?;
    let mut back = server.try_clone()?;
    let copier = std::thread::spawn(move || copy(&mut back, &mut answers));
    copy(&mut reader, &mut server)?;
    server.shutdown(Shutdown::Write)?;
    drop(copier.join());
    Ok(())
}

fn copy(from: &mut dyn Read, to: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 16384];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

fn through(mut session: Session, variables: &[(&str, &str)]) -> Transfer {
    for (name, value) in variables {
        session.environment.insert((*name).to_owned(), (*value).to_owned());
    }
    Transfer::spawn(program(), &session).unwrap()
}

/// The name is the proxy's to resolve, the certificate is checked at the far end.
#[test]
fn a_tunnel_to_a_registry() {
    let authority = Authority::new();
    let server = registry(&authority.sign("registry.example"), None);
    let (proxy, heads) = tunnels_to(server.port());
    let toml =
        format!("[registry.\"registry.example\"]\nca = \"{}\"", authority.path("ca.pem").display());
    let transfer =
        through(session(&toml), &[("HTTPS_PROXY", &format!("http://anna:pass@{proxy}"))]);
    transfer.manifest(&reference("registry.example", "a:v1")).unwrap();
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("Proxy-Authorization: Basic YW5uYTpwYXNz\r\n"), "{heads:?}");
    for request in server.requests() {
        assert!(request.header("proxy-authorization").is_none());
    }
}

#[test]
fn a_registry_in_the_clear_is_asked_for_by_its_whole_address() {
    let proxy = ScriptedRegistry::start(|request| {
        if request.method == "CONNECT" { Answer::new(403) } else { Answer::ok("{}") }
    });
    let toml = "insecure = [\"registry.example:5000\"]";
    let address = format!("http://anna:pass@{}", proxy.address());
    let variables = [("HTTP_PROXY", address.as_str()), ("HTTPS_PROXY", address.as_str())];
    let transfer = through(session(toml), &variables);
    transfer.manifest(&reference("registry.example:5000", "a:v1")).unwrap();
    let last = proxy.requests().pop().unwrap();
    assert_eq!(last.target, "http://registry.example:5000/v2/a/manifests/v1");
    assert_eq!(last.header("host"), Some("registry.example:5000"));
    assert_eq!(last.header("proxy-authorization"), Some("Basic YW5uYTpwYXNz"));
    // One that is not listed is not asked so.
    let transfer = through(session(""), &variables);
    let before = proxy.requests().len();
    refused(
        transfer.manifest(&reference("registry.example:5000", "a:v1")),
        FailureKind::Unavailable,
        "does not connect",
    );
    assert!(proxy.requests()[before..].iter().all(|request| request.method == "CONNECT"));
}

#[test]
fn exceptions_and_proxies_that_are_none() {
    let registry = ScriptedRegistry::start(|_| Answer::ok("{}"));
    let wanted = reference(&registry.address(), "a:v1");
    // This machine is spoken to directly.
    through(session(""), &[("ALL_PROXY", "http://127.0.0.1:1")]).manifest(&wanted).unwrap();
    let far = reference("registry.example", "a:v1");
    let result = through(session(""), &[("ALL_PROXY", "http://127.0.0.1:1")]).manifest(&far);
    refused(result, FailureKind::Unavailable, "the proxy 127.0.0.1:1");
    let mut broken = session("");
    broken.environment.insert("https_proxy".to_owned(), "socks5://x:secret@y".to_owned());
    let error = Transfer::spawn(program(), &broken).unwrap_err().to_string();
    assert!(error.contains("SOCKS") && !error.contains("secret"), "{error}");
    let wants = ScriptedRegistry::start(|_| Answer::new(407));
    let result = through(session(""), &[("ALL_PROXY", &format!("http://{}", wants.address()))])
        .manifest(&far);
    refused(result, FailureKind::Unavailable, "wants a user and a password");
}
