//! A tracer that changes what a program's system calls do.

use std::process::{Child, Command, Stdio};

use crate::command::wait_for;

/// strace on one thread of a program, until it is dropped.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Attaches to a thread, and with `options` of strace to those it makes.
    #[track_caller]
    pub(crate) fn attach(tid: &str, options: &[&str]) -> Self {
        let strace = Command::new("strace")
            .args(options)
            .args(["-p", tid])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let tracer = Self(strace.unwrap());
        let status = format!("/proc/{tid}/status");
        wait_for("the tracer", || {
            let status = std::fs::read_to_string(&status).unwrap();
            status.contains(&format!("TracerPid:\t{}\n", tracer.0.id())).then_some(())
        });
        tracer
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
