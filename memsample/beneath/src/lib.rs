//! Opens, makes and removes files in directories where others may exchange them meanwhile.
//!
//! A path is a question that the kernel answers anew each time: between two looks, its owner may have put a link, a
//! pipe or a device in the place of a file. A [`HeldDirectory`] is asked once. What is in it is reached by one name at
//! a time, without following links and without waiting, and is what it was checked to be.
#![forbid(unsafe_code)]

mod directory;
mod new_directory;
mod opening;
mod private;
mod regular;
mod removal;
mod temporary;

pub use directory::{Entry, HeldDirectory};
pub use new_directory::NewDirectory;
pub use private::PrivateDirectory;
pub use regular::{open_regular, read_regular};
pub use removal::remove_tree;
pub use temporary::is_temporary;
