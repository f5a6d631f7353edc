//! The forms of the program, of which each needs less of the kernel than the one before and costs more.

use crate::refused::Refused;

/// With this variable tests force a form: `list` or `each-task`.
const FORCED: &str = "MEMSAMPLE_TEST_BPF_FORM";

/// How the kernel is made to come to each process. The rows are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A program that walks the kernel's list of processes, slice by slice. It needs Linux 6.4.
    List,
    /// The kernel's iterator over tasks (`iter/task`), which calls a program for each thread. It needs Linux 5.17.
    EachTask,
}

impl Form {
    /// All forms, the best first.
    pub const ALL: [Self; 2] = [Self::List, Self::EachTask];

    /// Returns those to try: all, or the one that a test forces.
    pub(crate) fn to_try() -> Result<&'static [Self], Refused> {
        let Some(name) = std::env::var_os(FORCED) else { return Ok(&Self::ALL) };
        match name.to_str() {
            Some("list") => Ok(&[Self::List]),
            Some("each-task") => Ok(&[Self::EachTask]),
            _ => Err(Refused::Failed {
                what: "reading MEMSAMPLE_TEST_BPF_FORM",
                answer: format!("{name:?} is no form of the program"),
            }),
        }
    }
}
