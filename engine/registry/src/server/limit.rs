//! How often one client may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many clients are remembered. Those that have been quiet go first.
const MAX_CLIENTS: usize = 50_000;

/// A bound on requests: so many a second, and so many at once after a pause.
#[derive(Debug)]
pub(super) struct Limiter {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Limiter {
    /// `per_second` and `burst` are above zero.
    pub(super) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst: burst.max(1.0), buckets: Mutex::default() }
    }

    /// Counts a request of `client`; how long to wait if it is one too many.
    pub(super) fn take(&self, client: IpAddr) -> Result<(), Duration> {
        self.take_at(client, Instant::now())
    }

    fn take_at(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_CLIENTS {
            let full = |bucket: &Bucket| bucket.filled(now, self.per_second) >= self.burst;
            buckets.retain(|_, bucket| !full(bucket));
            if buckets.len() >= MAX_CLIENTS {
                buckets.clear();
            }
        }
        let fresh = Bucket { left: self.burst, at: now };
        let bucket = buckets.entry(network(client)).or_insert(fresh);
        bucket.left = bucket.filled(now, self.per_second).min(self.burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn filled(&self, now: Instant, per_second: f64) -> f64 {
        self.left + now.saturating_duration_since(self.at).as_secs_f64() * per_second
    }
}

/// A client of IPv6 has a whole network.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.into(),
            None => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        let limiter = Limiter::new(2.0, 3.0);
        let now = Instant::now();
        let client = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            limiter.take_at(client, now).unwrap();
        }
        assert_eq!(limiter.take_at(client, now).unwrap_err(), Duration::from_millis(500));
        limiter.take_at("192.0.2.2".parse().unwrap(), now).unwrap();
        limiter.take_at(client, now + Duration::from_millis(500)).unwrap();
        assert!(limiter.take_at(client, now + Duration::from_millis(500)).is_err());
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
            limiter.take_at(host.parse().unwrap(), now).unwrap();
        }
        assert!(limiter.take_at("2001:db8::4".parse().unwrap(), now).is_err(), "one network");
    }
}
