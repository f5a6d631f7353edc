//! What to show, of which processes, and when.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use super::by::By;
use super::column::{Column, columns};
use crate::metric::Files;

/// An instant of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// A time.
    Time(Timestamp),
    /// The time since the first tick.
    Offset(Duration),
}

impl At {
    /// Returns the time that is meant in a recording with this first tick; `None` where it is after the end of time.
    #[must_use]
    pub fn since(self, first: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Time(time) => Some(time),
            Self::Offset(offset) => first.checked_add(SignedDuration::try_from(offset).ok()?).ok(),
        }
    }
}

/// What to show, and of which processes.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    pub(super) by: By,
    columns: Vec<Column>,
    user: Option<u32>,
    name: Option<Regex>,
    except: Option<i32>,
    pub(super) exact: bool,
}

impl ViewOptions {
    /// Shows all processes of the machine, with all columns but those that cost most.
    #[must_use]
    pub fn new(by: By) -> Self {
        let columns = columns(by).iter().filter(|column| column.in_machine);
        let columns = columns.copied().collect();
        Self { by, columns, user: None, name: None, except: None, exact: false }
    }

    /// Reads no more files of a live process than these columns need. The value of another column may be
    /// [`Unknown`](super::Value::Unknown).
    #[must_use]
    pub fn columns(mut self, columns: impl IntoIterator<Item = Column>) -> Self {
        self.columns = columns.into_iter().collect();
        self
    }

    /// Shows only processes of this user id. Has no effect on [`By::System`].
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    /// Shows only processes whose command name or command line matches. Has no effect on [`By::System`].
    #[must_use]
    pub fn name(mut self, name: Regex) -> Self {
        self.name = Some(name);
        self
    }

    /// Leaves out one live process: the caller, whose arguments may hold the expression it searches for.
    #[must_use]
    pub fn except(mut self, pid: i32) -> Self {
        self.except = Some(pid);
        self
    }

    /// Shows of a recording only what was read at the very tick. Otherwise what was not read at it is shown as it was
    /// last read, with its age.
    #[must_use]
    pub fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    pub(super) fn matches_all(&self) -> bool {
        !self.is_filtered() && self.except.is_none()
    }

    /// Returns whether some processes are left out by their user or name.
    pub(super) fn is_filtered(&self) -> bool {
        self.user.is_some() || self.name.is_some()
    }

    /// Returns whether the command line decides about a process.
    pub(super) fn matches_command(&self) -> bool {
        self.name.is_some()
    }

    pub(super) fn matches(&self, uid: Option<u32>, comm: &str, command: Option<&str>) -> bool {
        self.user.is_none_or(|wanted| uid == Some(wanted))
            && self.name.as_ref().is_none_or(|name| {
                name.is_match(comm) || command.is_some_and(|command| name.is_match(command))
            })
    }

    /// Returns whether a process is left out by its pid.
    pub(super) fn excepts(&self, pid: i32) -> bool {
        self.except == Some(pid)
    }

    /// Returns whether a column has this name.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// Returns whether a column needs `smaps_rollup`.
    pub(super) fn needs_rollup(&self) -> bool {
        let in_rollup = |column: &Column| {
            column.metric().is_some_and(|metric| metric.file() == Files::SMAPS_ROLLUP)
        };
        // The areas are compared with what PSS explains of them.
        self.by == By::System || self.columns.iter().any(in_rollup)
    }
}
