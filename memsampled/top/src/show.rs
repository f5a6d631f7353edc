//! The terminal: draws, waits for keys and for the next instant.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::crossterm::event::{Event, KeyEventKind, poll, read};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::app::{App, Start};
use crate::screen::draw;
use crate::source::Source;

/// How long it takes at most until a signal is noticed.
const PATIENCE: Duration = Duration::from_millis(200);

/// Shows what a source has until the user quits, or `is_stopped` says so. The terminal is then as it was.
///
/// # Errors
///
/// There is no terminal, or the source cannot be read.
pub fn show(
    source: Box<dyn Source>,
    start: Start,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<()> {
    let interval = start.interval;
    let mut app = App::new(source, start);
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let outcome = run(&mut terminal, &mut app, interval, is_stopped);
    // A terminal that has gone cannot be put back.
    let _ = ratatui::try_restore();
    outcome
}

fn run(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    interval: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<()> {
    let mut due = Instant::now() + interval;
    while !app.is_over() && !is_stopped() {
        terminal.draw(|frame| draw(frame, app)).context("cannot write to the terminal")?;
        while !is_stopped() {
            let now = Instant::now();
            if now >= due {
                app.tick()?;
                // What was missed is not made up for.
                due = Instant::now() + interval;
                break;
            }
            match keys_within((due - now).min(PATIENCE)) {
                Keys::Pressed => {}
                Keys::None => continue,
                Keys::TerminalGone => return Ok(()),
            }
            // A change of the size of the terminal is seen at the next drawing.
            if !poll(Duration::ZERO).context("cannot read from the terminal")? {
                continue;
            }
            match read().context("cannot read from the terminal")? {
                Event::Key(key) if key.kind != KeyEventKind::Release => app.key(key)?,
                _ => {}
            }
            // Keys that have come meanwhile are done before the next drawing.
            if app.is_over() || keys_within(Duration::ZERO) != Keys::Pressed {
                break;
            }
        }
    }
    Ok(())
}

/// What came from the terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Pressed,
    None,
    /// Nobody holds its other end. To read from it would never end.
    TerminalGone,
}

/// Waits for keys.
fn keys_within(patience: Duration) -> Keys {
    let input = io::stdin();
    let mut fds = [PollFd::new(&input, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    };
    // A signal ends the wait, and is looked at then.
    let answered = rustix::event::poll(&mut fds, Some(&timeout)).unwrap_or(0);
    let events = fds.iter().map(PollFd::revents).fold(PollFlags::empty(), |all, it| all | it);
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    match answered {
        0 => Keys::None,
        _ if events.intersects(gone) => Keys::TerminalGone,
        _ => Keys::Pressed,
    }
}
