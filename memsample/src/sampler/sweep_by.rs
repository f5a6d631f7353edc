//! Which way the numbers of processes are read.

use serde::{Deserialize, Serialize};

/// Which way a [`Sampler`](crate::Sampler) reads the numbers that `statm`, `status` and `stat` have.
///
/// Either way gives the same rows. How processes are found, what they are, and PSS come from `/proc` in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepBy {
    /// By BPF where that works and has passed its own comparison with `/proc` at the start, and else from `/proc`.
    Auto,
    /// From the files of each process in `/proc`.
    #[default]
    Proc,
    /// In one pass of a BPF program over all processes. Where that does not work, the sampler does not begin.
    Bpf,
}
