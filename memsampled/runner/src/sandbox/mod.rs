//! What is between a test and the machine.
//!
//! A chain of processes runs an attempt, each of which is the program itself, forked, or executed with another first
//! argument:
//!
//! ```text
//! runner ─▶ starter, one for all attempts
//!    └────▶ supervisor ─▶ unshare, bwrap or lxc-execute ─▶ init ─▶ exec shim, which becomes the test
//!           outside, a session of its own                  inside: parent of all that the test starts
//! ```
//!
//! - The *starter* has one thread, so that it can be forked where the runner cannot. It forks each supervisor as a child
//!   of the runner, and ends with the run.
//! - The *supervisor* makes the control groups, captures the output, enforces timeouts and kills. It runs in a session
//!   of its own, and only as long as its runner: when the channel to the runner closes, also because of a `kill -9`,
//!   it ends everything and removes what it made.
//! - *Init* is pid 1 in the sandbox, or a subreaper where there is no pid namespace. It starts exec shims, and reports
//!   how each ended. When its channel closes, it kills all its descendants and exits.
//! - The *exec shim* joins the control groups, waits until the recording knows it, and executes the test.
//!
//! Init and exec shims have a command name of their own, by which the recording distinguishes them from the test.

mod allowed_memory;
mod artifact_reader;
mod artifacts;
mod attempt_end;
mod available;
mod capture;
mod channel;
mod choice;
mod exec_shim;
mod group_meter;
mod groups;
mod init;
mod internal_program;
mod kernel_file;
mod last_line;
mod launch;
mod listed;
mod names;
mod own_groups;
mod path_bytes;
mod priority;
mod processes;
mod protocol;
mod signals;
mod spec;
mod start;
mod starter;
mod supervisor;
mod tool;
mod users;

pub use available::{LXC_PATH, Missing, available};
pub use internal_program::internal_program;
pub use spec::Keep;

pub(crate) use allowed_memory::allowed_memory;
pub(crate) use artifacts::{artifacts_directory, kept_artifacts};
pub(crate) use attempt_end::AttemptEnd;
pub(crate) use available::{bubblewrap, lxc_tools, pid_namespace};
pub(crate) use choice::Sandboxes;
pub(crate) use groups::{Controllers, controllers};
pub(crate) use internal_program::remove_left;
pub(crate) use launch::{SupervisorHandle, Supervisors, reap};
pub(crate) use priority::RaisedPriority;
pub(crate) use processes::{IdentifiedProcess, identity};
pub(crate) use protocol::{SupervisorMessage, SupervisorOrder};
pub(crate) use spec::{ResolvedSandbox, Spec, Stage, StageKind};
pub(crate) use users::find_user;
