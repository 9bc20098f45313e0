//! Whether a container that ended is started again, when, and by what.

use std::time::Duration;

use hull_sandbox::{Inputs, Running};
use hull_shim::protocol::{Exit, Failure, HealthCheck, RestartPolicy, StartRequest};

use crate::start::{Container, internal, launch};
use crate::streams::Streams;

/// The first wait; each one is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(100);

/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);

/// A container that ran as long as this has come up: the next wait is the first again.
const CAME_UP: Duration = Duration::from_secs(10);

/// What a container is started from when it is started again. Held only with a policy.
#[derive(Debug)]
pub(crate) struct Again {
    request: StartRequest,
    inputs: Inputs,
}

impl Again {
    /// From a request and what came with it.
    pub(crate) fn new(request: StartRequest, inputs: Inputs) -> Self {
        Self { request: StartRequest { attaches: Vec::new(), ..request }, inputs }
    }

    pub(crate) fn health(&self) -> Option<&HealthCheck> {
        self.request.health.as_ref()
    }

    /// Starts the container once more, on a fresh mount of what it has written so far.
    ///
    /// # Errors
    /// Why it did not start.
    pub(crate) fn start(&self, container: &Container) -> Result<(Running, Streams), Failure> {
        let inputs = self.inputs.duplicate().map_err(|error| {
            internal(&format!("cannot start container {} again", container.id), &error)
        })?;
        launch(container, &self.request, inputs)
    }

    /// Whether a container that ended like this is started again, after `restarts` times.
    pub(crate) fn is_wanted(&self, exit: &Exit, restarts: u32) -> bool {
        match self.request.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { most } => exit.code != 0 && (most == 0 || restarts < most),
        }
    }
}

/// How long to wait before the next start.
#[derive(Debug, Default)]
pub(crate) struct BackOff(Duration);

impl BackOff {
    /// The wait after a run of this length.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        self.0 = match self.0 {
            before if ran >= CAME_UP || before.is_zero() => FIRST,
            before => (before * 2).min(LONGEST),
        };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut back_off = BackOff::default();
        let short = Duration::from_secs(9);
        let waits: Vec<u128> = (0..12).map(|_| back_off.after(short).as_millis()).collect();
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000];
        assert_eq!(waits, expected);
        assert_eq!(back_off.after(CAME_UP).as_millis(), 100);
        assert_eq!(back_off.after(short).as_millis(), 200);
    }
}
