//! What is shown, and what keys change.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use regex::{Regex, RegexBuilder};

use crate::own_cost::OwnCost;
use crate::row_key::{By, RowKey};
use crate::rows::{Choice, Row, SortBy, rows};
use crate::source::{Source, Step};
use crate::trail::Trail;

/// How far an arrow key steps in time, and how far with Shift.
const STEP_MS: i64 = 1;
const LONG_STEP_MS: i64 = 10_000;

/// The state of the screen.
pub struct App {
    pub(crate) source: Box<dyn Source>,
    pub(crate) choice: Choice,
    pub(crate) rows: Vec<Row>,
    pub(crate) trail: Trail,
    /// The selected row.
    pub(crate) selected: usize,
    /// The row at the top of the screen.
    pub(crate) first: usize,
    /// The number of rows that fit, as of the last drawing.
    pub(crate) fitting: usize,
    /// Whether time stands still.
    pub(crate) paused: bool,
    /// The filter that is being typed.
    pub(crate) typed: Option<String>,
    /// What to tell the user in the last line.
    pub(crate) message: Option<String>,
    pub(crate) shows_help: bool,
    pub(crate) cost: OwnCost,
    /// Whether the terminal shows more than ASCII.
    pub(crate) utf8: bool,
    /// Whether the terminal may show colours.
    pub(crate) colors: bool,
    is_over: bool,
}

/// How the screen begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which rows, in which order.
    pub choice: Choice,
    /// How often it is brought up to date.
    pub interval: Duration,
    /// Whether the terminal shows more than ASCII.
    pub utf8: bool,
    /// Whether the terminal may show colours.
    pub colors: bool,
}

impl App {
    /// Begins with the frame that the source shows. A recording begins paused.
    #[must_use]
    pub fn new(source: Box<dyn Source>, start: Start) -> Self {
        let mut app = Self {
            paused: !source.is_live(),
            source,
            choice: start.choice,
            rows: Vec::new(),
            trail: Trail::default(),
            selected: 0,
            first: 0,
            fitting: 1,
            typed: None,
            message: None,
            shows_help: false,
            cost: OwnCost::default(),
            utf8: start.utf8,
            colors: start.colors,
            is_over: false,
        };
        app.cost.read();
        app.take_rows();
        app
    }

    /// Whether the user has ended it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Goes on in time, unless it is paused. This machine is sampled all the same, so that one can step on later.
    ///
    /// # Errors
    ///
    /// The source cannot be read.
    pub fn tick(&mut self) -> anyhow::Result<()> {
        self.cost.read();
        let shown = Arc::clone(self.source.frame());
        let advanced = self.source.advance(!self.paused);
        advanced.context("cannot read the memory of the processes")?;
        if !Arc::ptr_eq(&shown, self.source.frame()) {
            self.take_rows();
        }
        Ok(())
    }

    /// Does what a key means.
    ///
    /// # Errors
    ///
    /// The source cannot be read.
    pub fn key(&mut self, key: KeyEvent) -> anyhow::Result<()> {
        self.message = None;
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            self.is_over = true;
            return Ok(());
        }
        if self.typed.is_some() {
            self.type_filter(key);
            return Ok(());
        }
        if self.shows_help {
            self.shows_help = false;
            return Ok(());
        }
        if let Some(row) = self.row_to(key.code) {
            self.select(row);
            return Ok(());
        }
        let long = key.modifiers.contains(KeyModifiers::SHIFT);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => self.is_over = true,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.shows_help = true,
            KeyCode::Left => self.step(Step::By(if long { -LONG_STEP_MS } else { -STEP_MS }))?,
            KeyCode::Right => self.step(Step::By(if long { LONG_STEP_MS } else { STEP_MS }))?,
            KeyCode::Char('[') => self.step(Step::By(-LONG_STEP_MS))?,
            KeyCode::Char(']') => self.step(Step::By(LONG_STEP_MS))?,
            KeyCode::Char('0') => self.step(Step::First)?,
            KeyCode::Char('$') => {
                self.step(Step::Last)?;
                self.paused = !self.source.is_live();
            }
            KeyCode::Char(' ') => {
                self.paused = !self.paused;
                if !self.paused && self.source.is_live() {
                    self.source.step(Step::Last)?;
                    self.take_rows();
                }
            }
            KeyCode::Char('b') => self.choice.by = next(self.choice.by),
            KeyCode::Char('s') => self.choice.sort = next(self.choice.sort),
            KeyCode::Char('S' | 'R') => self.choice.reverse = !self.choice.reverse,
            KeyCode::Char('r') => self.choice.sort = SortBy::Rss,
            KeyCode::Char('p') => self.choice.sort = SortBy::Pss,
            KeyCode::Char('u') => self.choice.sort = SortBy::Uss,
            KeyCode::Char('w') => self.choice.sort = SortBy::Swap,
            KeyCode::Char('m') => self.choice.sort = SortBy::Peak,
            KeyCode::Char('g') => self.choice.sort = SortBy::Growth,
            KeyCode::Char('n') => self.choice.sort = SortBy::Name,
            KeyCode::Char('t') => {
                self.choice.tree = !self.choice.tree;
                self.choice.by = By::Process;
            }
            KeyCode::Char('/' | 'f') => {
                let filter = self.choice.filter.as_ref();
                self.typed = Some(filter.map_or_else(String::new, |it| it.as_str().to_owned()));
            }
            _ => return Ok(()),
        }
        self.take_rows();
        Ok(())
    }

    /// Returns the row to which a key moves.
    fn row_to(&self, code: KeyCode) -> Option<usize> {
        let page = self.fitting.max(1);
        Some(match code {
            KeyCode::Up | KeyCode::Char('k') => self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected + 1,
            KeyCode::PageUp => self.selected.saturating_sub(page),
            KeyCode::PageDown => self.selected + page,
            KeyCode::Home => 0,
            KeyCode::End => self.rows.len(),
            _ => return None,
        })
    }

    fn step(&mut self, by: Step) -> anyhow::Result<()> {
        self.paused = true;
        self.source.step(by).context("cannot read the recording")?;
        Ok(())
    }

    fn type_filter(&mut self, key: KeyEvent) {
        let Some(typed) = &mut self.typed else { return };
        match key.code {
            KeyCode::Char(char) => typed.push(char),
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Esc => self.typed = None,
            KeyCode::Enter => match parse_filter(typed) {
                Ok(filter) => {
                    self.choice.filter = filter;
                    self.typed = None;
                    self.select(0);
                    self.take_rows();
                }
                Err(error) => self.message = Some(error),
            },
            _ => {}
        }
    }

    fn select(&mut self, row: usize) {
        self.selected = row.min(self.rows.len().saturating_sub(1));
    }

    /// Makes the rows anew, and keeps the selected one where it still is.
    fn take_rows(&mut self) {
        let selected: Option<RowKey> = self.rows.get(self.selected).map(|row| row.key.clone());
        self.trail.set(self.source.trail(), self.choice.by);
        self.rows = rows(self.source.frame(), &self.trail, &self.choice);
        // Who looks at the top sees who is there.
        let kept = selected.filter(|_| self.selected > 0);
        let place = kept.and_then(|key| self.rows.iter().position(|row| row.key == key));
        self.select(place.unwrap_or(self.selected));
    }
}

/// Returns the value after another one, and the first one after the last.
fn next<T: ValueEnum + PartialEq>(present: T) -> T {
    let all = T::value_variants();
    let after = all.iter().skip_while(|it| **it != present).nth(1);
    after.or(all.first()).cloned().unwrap_or(present)
}

/// Reads a filter: a regular expression that does not tell capitals apart unless it has some. Nothing is no filter.
///
/// # Errors
///
/// A sentence about what is wrong with it.
pub fn parse_filter(text: &str) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let has_capitals = text.chars().any(char::is_uppercase);
    let regex = RegexBuilder::new(text).case_insensitive(!has_capitals).build();
    regex.map(Some).map_err(|_| format!("`{text}` is no regular expression"))
}
