//! `/etc/resolv.conf` and `/etc/hosts`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// As resolv.conf(5) has it.
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 32;
const PORT: u16 = 53;

/// Who is asked for addresses, and which are known without asking.
#[derive(Debug, Clone)]
pub struct DnsSettings {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) search: Vec<String>,
    pub(crate) dots: usize,
    pub(crate) timeout: Duration,
    pub(crate) attempts: usize,
    pub(crate) hosts: HashMap<String, Vec<IpAddr>>,
}

impl DnsSettings {
    /// Reads the texts of `resolv.conf` and `hosts`. Lines that are not understood are left out,
    /// as everybody does.
    pub fn parse(resolv: &str, hosts: &str) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            hosts: parse_hosts(hosts),
        };
        for line in resolv.lines() {
            let line = line.split(['#', ';']).next().unwrap_or(line);
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => settings.add_server(words.next()),
                Some("domain" | "search") => {
                    settings.search = words.take(MAX_SEARCH).map(lower).collect();
                }
                Some("options") => words.for_each(|option| settings.option(option)),
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        settings
    }

    fn add_server(&mut self, text: Option<&str>) {
        // An address of a link names it after `%`; a socket address wants a number there.
        if let Some(Ok(address)) = text.map(str::parse::<IpAddr>)
            && self.servers.len() < MAX_SERVERS
        {
            self.servers.push((address, PORT).into());
        }
    }

    fn option(&mut self, option: &str) {
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(value) = value.parse::<u8>() else { return };
        match name {
            "ndots" => self.dots = usize::from(value.min(15)),
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = usize::from(value.clamp(1, 5)),
            _ => {}
        }
    }
}

fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or(line);
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            hosts.entry(lower(name)).or_default().push(address);
        }
    }
    hosts
}

fn lower(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read() {
        let settings = DnsSettings::parse(
            "# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1 ; x\nnameserver nonsense\n\
             search Example.org. lan\noptions ndots:2 timeout:99 attempts:1 rotate edns0\n",
            "127.0.0.1 localhost\n::1 localhost\n192.0.2.7 Registry.LAN r # x\nbad line\n",
        );
        assert_eq!(settings.servers.len(), 2);
        assert_eq!(settings.search, ["example.org", "lan"]);
        assert_eq!((settings.dots, settings.attempts), (2, 1));
        assert_eq!(settings.timeout, Duration::from_secs(30));
        assert_eq!(settings.hosts["localhost"].len(), 2);
        assert_eq!(settings.hosts["registry.lan"], ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        let nothing = DnsSettings::parse("", "");
        assert_eq!(nothing.servers, ["127.0.0.1:53".parse::<SocketAddr>().unwrap()]);
    }
}
