//! Where control groups are: the mounted hierarchies, and the directory of a group in each.
//!
//! Version 1 has a hierarchy for each controller, or for a few; version 2 has one for all. A hybrid machine has
//! both, and its controllers are on hierarchies of version 1.
//!
//! ```
//! use memsample::cgroups::{Hierarchies, own_groups};
//!
//! let hierarchies = Hierarchies::mounted();
//! for group in own_groups() {
//!     if let Some(hierarchy) = hierarchies.of_group(&group) {
//!         println!("{}", hierarchy.nearest_directory(group.path.as_ref()).display());
//!     }
//! }
//! ```

mod hierarchy;
mod namespace;
mod own;
mod version;

pub use hierarchy::{Hierarchies, Hierarchy};
pub(crate) use namespace::append_below;
pub use own::{OwnGroup, own_groups};
pub use version::Version;
