//! The configuration file: what holds for every recording of a user, and what the daemon does.
#![forbid(unsafe_code)]

mod daemon;
mod dashboard;
mod file;
mod flight;
mod limits;
mod wrong_value;

pub use daemon::{DaemonConfig, DaemonTable};
pub use dashboard::DashboardSettings;
pub use file::Config;
pub use flight::{FlightSettings, share_of, without_capability};
pub use limits::{Limits, MAX_METRICS_ROLES, MAX_SESSIONS, Retention};
pub use wrong_value::WrongValue;
