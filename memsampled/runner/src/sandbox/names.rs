//! The names by which processes of a sandbox are started and known.

pub(super) const STARTER: &str = "sandbox-starter";
pub(super) const SUPERVISOR: &str = "sandbox-supervisor";
pub(super) const INIT: &str = "sandbox-init";
pub(super) const EXEC_SHIM: &str = "sandbox-exec-shim";
/// The command name of init and of exec shims, which is that of the file by which they are executed. No program of a
/// test has it, so that a recording can leave their memory out of that of the test.
pub(super) const PROCESS_NAME: &str = "memsample-init";
