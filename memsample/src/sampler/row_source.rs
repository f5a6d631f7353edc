//! Where the numbers of a sweep come from: one pass of a BPF program, or the files of each process.

use memsample_bpf::Walk;

use super::bpf_sweep::{BpfSweep, CurrentRow};
use super::entry::Entry;
use super::first_comparison::compare_all;
use super::reading::Reader;
use super::sweep_by::SweepBy;

/// Before the first comparison, room is made so often; each time it is twice what was met.
const MAX_GROWTHS: usize = 4;

/// Where the numbers of a sweep come from.
#[derive(Default)]
pub(super) struct RowSource {
    bpf: Option<BpfSweep>,
    /// Whether the rows are those of the sweep that is under way.
    is_current: bool,
    /// Why they do not all come from BPF, where that was asked for.
    note: Option<String>,
}

impl RowSource {
    /// Settles where they come from, of the processes that were found.
    ///
    /// # Errors
    ///
    /// Why they cannot come from BPF, where nothing else is wanted.
    pub(super) fn settle(
        wanted: SweepBy,
        reader: &mut Reader,
        entries: &[Entry],
    ) -> Result<Self, String> {
        let begun = match wanted {
            SweepBy::Proc => return Ok(Self::default()),
            SweepBy::Auto | SweepBy::Bpf => begin(reader, entries),
        };
        match begun {
            Ok((bpf, without_row)) => {
                let note = (without_row > 0).then(|| {
                    format!(
                        "read from /proc, since the kernel does not show them to BPF: {without_row} of {} processes",
                        entries.iter().filter(|entry| entry.process().is_some()).count()
                    )
                });
                Ok(Self { bpf: Some(bpf), note, ..Self::default() })
            }
            Err(reason) if wanted == SweepBy::Bpf => {
                Err(format!("BPF cannot read processes: {reason}"))
            }
            Err(reason) => {
                let note = format!("processes are read from /proc, and not by BPF: {reason}");
                Ok(Self { note: Some(note), ..Self::default() })
            }
        }
    }

    pub(super) fn is_bpf(&self) -> bool {
        self.bpf.is_some()
    }

    /// Returns why the numbers do not all come from BPF, or no longer, where that was asked for.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Begins a sweep: reads all processes, where BPF does.
    pub(super) fn begin_sweep(&mut self, reader: &mut Reader, entries: &[Entry]) {
        let Some(bpf) = &mut self.bpf else { return };
        match bpf.pass(reader, entries) {
            Ok(()) => self.is_current = true,
            Err(reason) => {
                let now = reader.clock.now();
                let at = jiff::Timestamp::from_nanosecond(now.utc_ns.into()).unwrap_or_default();
                self.note = Some(format!(
                    "since {at:.0} processes are read from /proc, and no longer by BPF: {reason}"
                ));
                self.bpf = None;
            }
        }
    }

    /// Returns the row of a process, in a sweep that comes to the pids in their order; `None` where its files must be read.
    pub(super) fn next_row(&mut self, pid: i32) -> Option<CurrentRow<'_>> {
        if !self.is_current {
            return None;
        }
        self.bpf.as_mut()?.next_row(pid)
    }

    /// Ends the part of a sweep that the rows are for. What is read later is read anew.
    pub(super) fn end_sweep(&mut self, reader: &mut Reader, entries: &[Entry]) {
        self.is_current = false;
        if let Some(bpf) = &mut self.bpf {
            bpf.choose(reader, entries);
        }
    }

    /// Makes room for the next sweep, where there is little left.
    pub(super) fn make_room(&mut self) {
        if let Some(bpf) = &mut self.bpf {
            bpf.make_room();
        }
    }
}

fn begin(reader: &mut Reader, entries: &[Entry]) -> Result<(BpfSweep, usize), String> {
    if !reader.root.is_live() {
        return Err("what is read is a copy of /proc".to_owned());
    }
    if !reader.root.shares_pid_namespace() {
        return Err(format!(
            "`{}` shows another pid namespace than that of this program",
            reader.root.path().display()
        ));
    }
    let mut walk = Walk::load(entries.len()).map_err(|refused| refused.to_string())?;
    make_room_for_all(&mut walk)?;
    match compare_all(&mut walk, reader, entries) {
        Ok(without_row) => Ok((BpfSweep::new(walk), without_row)),
        // From Linux 6.2 to about 6.16, `/proc` counts resident pages without the parts of the CPUs.
        Err(reason) => {
            let mut walk = walk.without_parts().map_err(|_| reason.clone())?;
            let without_row = compare_all(&mut walk, reader, entries).map_err(|_| reason)?;
            Ok((BpfSweep::new(walk), without_row))
        }
    }
}

/// Makes room for what was not expected: processes that began meanwhile, and threads where these have rows.
fn make_room_for_all(walk: &mut Walk) -> Result<(), String> {
    for _ in 0..MAX_GROWTHS {
        let pass = walk.pass().map_err(|error| format!("the BPF program does not run: {error}"))?;
        if pass.missed == 0 {
            break;
        }
        walk.grow().map_err(|refused| refused.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use memsample_bpf::Form;

    use super::*;
    use crate::metric::Files;
    use crate::sampler::{Sampler, SamplerOptions};

    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sleeping(program: &str, arguments: &[&str]) -> Ended {
        Ended(Command::new(program).args(arguments).spawn().unwrap())
    }

    fn has(sampler: &mut Sampler, child: &Ended) -> bool {
        let pid = i32::try_from(child.0.id()).unwrap();
        sampler.sweep(Files::STATM).samples().any(|sample| sample.pid() == pid)
    }

    /// Without the capabilities there is no array that could be too small.
    #[test]
    fn what_has_no_room_is_read_from_its_files_or_all_is_for_want_of_capabilities() {
        let mut sampler = Sampler::new(SamplerOptions::default().sweep_by(SweepBy::Auto)).unwrap();
        let Ok(walk) = Walk::with_capacity(Form::List, 3) else {
            assert!(sampler.sweep_note().unwrap().contains("CAP_BPF"));
            return;
        };
        sampler.processes.source.bpf = Some(BpfSweep::new(walk));
        let child = sleeping("sleep", &["1000"]);
        assert!(has(&mut sampler, &child));
        let all = sampler.sweep(Files::STATM).counts().processes;
        assert!(all > 3);
        let bpf = sampler.processes.source.bpf.as_mut().unwrap();
        let pid = i32::try_from(child.0.id()).unwrap();
        assert!(bpf.has_row(pid), "it has grown after the first sweep");
        assert!(has(&mut sampler, &child));
    }

    /// Two processes at rest have each other's `statm`, as if the rows were of something else. Without the capabilities
    /// there is no BPF to be given up.
    #[test]
    fn bpf_is_given_up_when_it_differs_from_proc_or_was_refused_for_want_of_capabilities() {
        let children = [sleeping("sleep", &["1000"]), sleeping("tail", &["-f", "/dev/null"])];
        let options = SamplerOptions::default().sweep_by(SweepBy::Auto);
        let mut sampler = Sampler::new(options).unwrap();
        if !sampler.sweeps_by_bpf() {
            assert!(sampler.sweep_note().unwrap().contains("CAP_BPF"));
            return;
        }
        for child in &children {
            assert!(has(&mut sampler, child));
        }
        let of = |sampler: &Sampler, child: &Ended| {
            let pid = i32::try_from(child.0.id()).unwrap();
            sampler.processes.entries.iter().position(|entry| entry.pid == pid).unwrap()
        };
        let [first, second] = children.each_ref().map(|child| of(&sampler, child));
        let entries = &mut sampler.processes.entries;
        let taken = entries.get_mut(first).unwrap().statm.take();
        let other = std::mem::replace(&mut entries.get_mut(second).unwrap().statm, taken);
        entries.get_mut(first).unwrap().statm = other;
        // All processes are compared in turn.
        for _ in 0..1000 {
            if !sampler.sweeps_by_bpf() {
                break;
            }
            sampler.processes.source.bpf.as_mut().unwrap().compare_soon();
            sampler.sweep(Files::STATM);
        }
        assert!(!sampler.sweeps_by_bpf());
        let note = sampler.sweep_note().unwrap();
        assert!(
            note.contains("and no longer by BPF: process") && note.contains("at rest"),
            "{note}"
        );
        for child in &children {
            assert!(has(&mut sampler, child));
        }
    }
}
