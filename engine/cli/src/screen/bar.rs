//! Bars, rates and times: numbers for somebody who waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::format::units;

/// Over how long a rate is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// How often a rate notes where it is.
const STEP: Duration = Duration::from_millis(200);

/// A bar of `width` columns, `done` of `total` full. Readable without colours.
pub(crate) fn bar(width: usize, done: u64, total: u64) -> String {
    let part = |whole: u128| whole * u128::from(done.min(total)) / u128::from(total.max(1));
    let full = usize::try_from(part(width as u128)).unwrap_or(width);
    let head = if full < width { ">" } else { "" };
    let rest = width - full - head.len();
    format!("{}{head}{}", "=".repeat(full), " ".repeat(rest))
}

/// Whole percents.
pub(crate) fn percent(done: u64, total: u64) -> u64 {
    let share = 100 * u128::from(done.min(total)) / u128::from(total.max(1));
    u64::try_from(share).unwrap_or(100)
}

/// Bytes in four digits at most: `12.3MB`.
pub(crate) fn bytes(count: u64) -> String {
    units::short_size(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A span of time as short as it can be said: `7s`, `2m05s`, `3h07m`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// How fast a number grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Notes that the number is `value` now. One that became smaller has begun anew.
    pub(crate) fn note(&mut self, now: Instant, value: u64) {
        if self.0.back().is_some_and(|(_, last)| *last > value) {
            self.0.clear();
        }
        // The last note moves until it is far enough from the one before.
        if let [.., (before, _), (last, _)] = *self.0.make_contiguous()
            && last.duration_since(before) < STEP
        {
            self.0.pop_back();
        }
        self.0.push_back((now, value));
        while self.0.len() > 2
            && self.0.front().is_some_and(|(then, _)| now.duration_since(*then) > WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// Growth per second, once it can be told.
    pub(crate) fn per_second(&self, now: Instant) -> Option<u64> {
        let ((first, start), (_, end)) = (self.0.front()?, self.0.back()?);
        let time = now.duration_since(*first);
        if time < STEP || end == start {
            return None;
        }
        u64::try_from(u128::from(end - start) * 1_000_000 / time.as_micros().max(1)).ok()
    }

    /// How long `left` more takes at this rate.
    pub(crate) fn time_for(&self, left: u64, now: Instant) -> Option<Duration> {
        let rate = self.per_second(now).filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(left.div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_full_as_they_say() {
        let table = [
            (0, 10, ">         "),
            (5, 10, "=====>    "),
            (10, 10, "=========="),
            (99, 10, "=========="),
            (0, 0, ">         "),
            (u64::MAX, u64::MAX, "=========="),
        ];
        for (done, total, expected) in table {
            assert_eq!(bar(10, done, total), expected, "{done}/{total}");
        }
        assert_eq!((bar(0, 1, 2), percent(1, 3), percent(5, 0)), (String::new(), 33, 0));
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
    }

    #[test]
    fn times_are_short() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3600, "1h00m"),
            (360_000, "100h00m"),
        ];
        for (seconds, expected) in table {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(start), None);
        rate.note(start, 0);
        rate.note(at(50), 100);
        assert_eq!(rate.per_second(at(50)), None);
        for tenth in 1..=100 {
            rate.note(at(tenth * 100), 1000 * tenth);
        }
        assert_eq!(rate.per_second(at(10_000)), Some(10_000));
        assert_eq!(rate.time_for(25_000, at(10_000)), Some(Duration::from_secs(3)));
        // Then it stands still.
        assert!(rate.per_second(at(20_000)) < Some(4_000));
        assert!(rate.0.len() < 60);
        rate.note(at(20_000), 5);
        assert_eq!(rate.per_second(at(20_000)), None);
    }
}
