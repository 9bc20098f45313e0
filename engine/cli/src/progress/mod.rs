//! What an engine says while it pulls, pushes, loads or imports: one JSON object per line.
//!
//! On a terminal each layer has a row that is drawn again as it moves ([`board`]); elsewhere every
//! line is printed as it comes, without those that only count, as Docker's client does it.

mod advice;
mod board;
mod event;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::client::ApiError;
use crate::screen::{Line, Live, Stream, Style, clean};
use board::Board;
use event::Event;

pub(crate) use advice::{Subject, advice};

/// How often rows are drawn at most.
const FRAME: Duration = Duration::from_millis(100);

/// The longest line an engine may send.
const MAX_LINE: usize = 1 << 20;

/// Where news and results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// What is being done; `None` for nobody who wants to know.
    pub(crate) news: Option<Stream>,
    /// What came of it.
    pub(crate) results: Option<Stream>,
}

impl Wish {
    /// As a load or an import: results are data, news are for somebody who watches.
    pub(crate) fn data(quiet: bool) -> Self {
        let news = (!quiet && Stream::Stderr.is_watched()).then_some(Stream::Stderr);
        Self { news, results: Some(Stream::Stdout) }
    }

    /// As a pull or a push: all on one stream, or nothing.
    pub(crate) fn all(stream: Stream, quiet: bool) -> Self {
        let stream = (!quiet).then_some(stream);
        Self { news: stream, results: stream }
    }
}

/// Shows a stream until it ends.
///
/// # Errors
/// What the engine says went wrong, or that it hung up.
pub(crate) async fn follow(response: Response<Incoming>, wish: Wish) -> Result<()> {
    let mut body = response.into_body();
    let mut lines = Lines::default();
    let mut view = View::new(wish);
    let mut clock = interval(FRAME);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            frame = body.frame() => {
                let Some(frame) = frame else { break };
                let Ok(data) = frame.context("the engine's answer broke off")?.into_data() else { continue };
                lines.push(&data);
                while let Some(line) = lines.next()? {
                    view.show(&line)?;
                }
            }
            () = view.time(&mut clock) => view.draw(),
        }
    }
    let rest = lines.rest();
    view.show(&rest)?;
    view.end();
    Ok(())
}

/// Bytes taken apart at line ends.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// How much of it was looked through.
    seen: usize,
}

impl Lines {
    pub(crate) fn push(&mut self, data: &Bytes) {
        self.bytes.extend_from_slice(data);
    }

    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(end) = self.bytes[self.seen..].iter().position(|byte| *byte == b'\n') else {
            self.seen = self.bytes.len();
            if self.seen > MAX_LINE {
                bail!("the engine's answer is not what was expected: a line without end");
            }
            return Ok(None);
        };
        let line = self.bytes.drain(..=self.seen + end).collect();
        self.seen = 0;
        Ok(Some(line))
    }

    pub(crate) fn rest(self) -> Vec<u8> {
        self.bytes
    }
}

/// How a stream is shown.
struct View {
    wish: Wish,
    board: Board,
    /// Where somebody watches.
    live: Option<Live>,
}

impl View {
    fn new(wish: Wish) -> Self {
        Self { wish, board: Board::default(), live: wish.news.and_then(Live::on) }
    }

    /// The next time to draw; never where nothing is drawn.
    async fn time(&self, clock: &mut Interval) {
        if self.live.is_none() || self.board.is_empty() {
            std::future::pending::<()>().await;
        }
        clock.tick().await;
    }

    fn show(&mut self, line: &[u8]) -> Result<()> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let event = Event::parse(line).context("the engine's answer is not what was expected")?;
        if let Some(failure) = event.failure() {
            self.settle();
            let (message, hint) = (failure.message, failure.hint);
            return Err(ApiError { status: 200, message, hint, kind: None }.into());
        }
        if event.aux.is_some() {
            return Ok(());
        }
        if let Some(text) = &event.stream {
            text.lines().for_each(|line| self.result(line));
        }
        let step = event.progress_detail.is_some() && event.id.is_some();
        match (&self.live, step) {
            (Some(_), true) => self.board.note(&event, Instant::now()),
            (None, true) => {
                if let (Some(stream), Some(text)) = (self.wish.news, event.plain()) {
                    stream.line(&clean(&text));
                }
            }
            (_, false) => {
                if let Some(text) = event.plain() {
                    self.result(&text);
                }
            }
        }
        Ok(())
    }

    /// Prints a line that stays.
    fn result(&mut self, text: &str) {
        if self.board.is_finished() {
            self.settle();
        }
        let Some(stream) = self.wish.results else { return };
        // Beside rows on another stream of the same terminal, it would be drawn over.
        match &mut self.live {
            Some(live) if self.wish.news == Some(stream) => live.above(&Line::default().text(text)),
            Some(live) => {
                live.draw(&[]);
                stream.line(&clean(text));
            }
            None => stream.line(&clean(text)),
        }
    }

    fn draw(&mut self) {
        if let Some(live) = &mut self.live {
            live.draw(&self.board.lines(live.room(), Instant::now()));
        }
    }

    /// Lets what is drawn stay; what comes is a new beginning.
    fn settle(&mut self) {
        if self.board.is_empty() {
            return;
        }
        self.draw();
        let summary = self.board.summary(Instant::now()).filter(|_| self.board.is_finished());
        if let Some(live) = &mut self.live {
            live.leave();
            if let Some(summary) = summary {
                live.above(&Line::default().with(Style::Bold, &summary));
            }
        }
        self.board = Board::default();
    }

    fn end(&mut self) {
        self.settle();
    }
}
