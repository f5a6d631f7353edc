//! A live screen of the memory of a machine, or of a recording, with its past.
//!
//! ```text
//! sampler_feed ── live, replay ── source ──▶ frame, trail ── rows ──▶ screen
//!                                 keys ── app ──┘
//! ```
#![forbid(unsafe_code)]

mod amount;
mod app;
mod cgroup_limits;
mod frame;
mod growth;
mod live;
mod own_cost;
mod replay;
mod row_key;
mod rows;
mod sampler_feed;
mod screen;
mod show;
mod source;
mod sparkline;
mod this_machine;
mod trail;

pub use amount::Amount;
pub use app::{App, Start, parse_filter};
pub use cgroup_limits::CgroupLimits;
pub use frame::{Frame, MachineMemory, ProcessFacts, ProcessMemory};
pub use growth::Growth;
pub use live::{Feed, LiveSource};
pub use own_cost::{OwnCost, own_rss_bytes};
pub use replay::ReplaySource;
pub use row_key::{By, RowKey};
pub use rows::{Choice, Row, SortBy, Sum, rows};
pub use sampler_feed::SamplerFeed;
pub use screen::draw;
pub use show::show;
pub use source::{Source, Step, TRAIL};
pub use sparkline::sparkline;
pub use this_machine::{memory_of_this_machine, user_name};
pub use trail::Trail;
