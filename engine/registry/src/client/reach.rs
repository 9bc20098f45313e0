//! How far away an address is.
//!
//! A registry on the internet has no business sending us to a token server, or to a blob, on this
//! machine, on this link or in a private network (CVE-2020-15157, CVE-2026-48978). One that is
//! there itself may name what is beside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Anywhere.
    Global,
    /// In a network of someone's own.
    Private,
    /// This machine.
    Machine,
    /// This link: where clouds keep what only this machine may know.
    Link,
    /// No host.
    Nowhere,
}

impl Reach {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Whether something at this place may send us to something at `to`.
    pub(crate) fn may_lead_to(self, to: Self) -> bool {
        match to {
            Self::Global => true,
            Self::Private => matches!(self, Self::Private | Self::Machine),
            Self::Machine | Self::Link => self == to,
            Self::Nowhere => false,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Global => "on the internet",
            Self::Private => "in a private network",
            Self::Machine => "on this machine",
            Self::Link => "on this link",
            Self::Nowhere => "nowhere",
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    let [first, second, ..] = address.octets();
    if address.is_loopback() || first == 0 {
        // Linux connects to 0.0.0.0 as to itself.
        Reach::Machine
    } else if address.is_link_local() {
        Reach::Link
    } else if address.is_private() || (first == 100 && second & 0xc0 == 64) {
        Reach::Private
    } else if first >= 224 {
        Reach::Nowhere
    } else {
        Reach::Global
    }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        of_v4(Ipv4Addr::new(a, b, c, d))
    };
    if address.is_loopback() || address.is_unspecified() {
        return Reach::Machine;
    }
    match segments {
        // Addresses that a gateway turns into IPv4 ones: NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [first, ..] if first & 0xffc0 == 0xfe80 => Reach::Link,
        [first, ..] if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => Reach::Private,
        [first, ..] if first & 0xff00 == 0xff00 => Reach::Nowhere,
        _ => Reach::Global,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (address, reach) in [
            ("8.8.8.8", Reach::Global),
            ("127.0.0.1", Reach::Machine),
            ("0.0.0.0", Reach::Machine),
            ("10.0.0.1", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("172.32.0.1", Reach::Global),
            ("100.64.0.1", Reach::Private),
            ("169.254.169.254", Reach::Link),
            ("224.0.0.1", Reach::Nowhere),
            ("255.255.255.255", Reach::Nowhere),
            ("::1", Reach::Machine),
            ("::", Reach::Machine),
            ("::ffff:169.254.169.254", Reach::Link),
            ("64:ff9b::a9fe:a9fe", Reach::Link),
            ("2002:7f00:1::", Reach::Machine),
            ("fe80::1", Reach::Link),
            ("fd00:ec2::254", Reach::Private),
            ("ff02::1", Reach::Nowhere),
            ("2606:4700::1", Reach::Global),
        ] {
            assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
        }
    }

    #[test]
    fn leads() {
        use Reach::{Global, Link, Machine, Nowhere, Private};
        for from in [Global, Private, Machine, Link] {
            assert!(from.may_lead_to(Global) && !from.may_lead_to(Nowhere));
        }
        assert!(!Global.may_lead_to(Private) && !Global.may_lead_to(Machine));
        assert!(!Global.may_lead_to(Link) && !Machine.may_lead_to(Link));
        assert!(Machine.may_lead_to(Private) && !Private.may_lead_to(Machine));
    }
}
