//! The terminal: draws, waits for keys and for the next instant.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossterm::event::{Event, KeyEventKind, poll, read};
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
    let _ = ratatui::try_restore();
    if terminal.show_cursor().is_err() {
        // It has gone and cannot be put back: its drop would panic as it tells so on it.
        std::mem::forget(terminal);
    }
    match outcome {
        Err(_) if is_gone(input_within(Duration::ZERO)) => Ok(()),
        outcome => outcome,
    }
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
        let mut is_drawn = true;
        while !is_stopped() {
            let now = Instant::now();
            if now >= due {
                app.tick()?;
                // What was missed is not made up for.
                due = Instant::now() + interval;
                break;
            }
            match take_key(app)? {
                Keys::Taken if app.is_over() => break,
                // Keys that have come meanwhile are done before the next drawing.
                Keys::Taken => is_drawn = false,
                Keys::None if !is_drawn => break,
                Keys::None => wait_for_input((due - now).min(PATIENCE)),
                Keys::TerminalGone => return Ok(()),
            }
        }
    }
    Ok(())
}

/// What came from the terminal.
enum Keys {
    Taken,
    None,
    /// Nobody holds its other end.
    TerminalGone,
}

/// Does what the next key means, if one has come.
fn take_key(app: &mut App) -> anyhow::Result<Keys> {
    if is_gone(input_within(Duration::ZERO)) {
        return Ok(Keys::TerminalGone);
    }
    // Not zero, with which it does not look; nor longer, as it reads the end of a terminal that goes away now over and
    // over until then.
    if !poll(Duration::from_millis(1)).context("cannot read from the terminal")? {
        return Ok(Keys::None);
    }
    match read().context("cannot read from the terminal")? {
        Event::Key(key) if key.kind != KeyEventKind::Release => app.key(key)?,
        _ => {}
    }
    Ok(Keys::Taken)
}

fn is_gone(input: PollFlags) -> bool {
    input.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

fn wait_for_input(patience: Duration) {
    input_within(patience);
}

/// Waits for input, and returns what is known of the terminal then. A signal ends the wait.
fn input_within(patience: Duration) -> PollFlags {
    let input = io::stdin();
    let mut fds = [PollFd::new(&input, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    };
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(1..) => fds.iter().map(PollFd::revents).fold(PollFlags::empty(), |all, it| all | it),
        _ => PollFlags::empty(),
    }
}
