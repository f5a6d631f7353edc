//! Reads all processes of a machine, again and again.
//!
//! [`discovery`] and [`fork_tracker`] find processes, [`processes`] opens their files, and each sweep reads them
//! through the kept descriptors ([`reading`]) until the kernel answers that the process has exited.

mod apply;
mod bpf_sweep;
mod candidate;
mod descriptors;
mod discovery;
mod entry;
#[cfg(test)]
mod exec_tests;
mod exits;
mod file_metrics;
mod first_comparison;
mod fork_tracker;
mod given_up;
mod governor;
mod handover;
mod image_description;
mod images;
mod known_pss;
mod last_description;
mod last_rollup;
mod memory_maps;
mod options;
mod plan;
mod processes;
mod pss_budget;
mod read_file;
mod reading;
mod reading_outcome;
mod redescription;
mod row_reading;
mod row_source;
mod row_values;
mod same_process;
mod snapshot;
mod stand_in;
mod sweep_by;
mod test_groups;
mod unmatched_exit;

use std::io;

pub use descriptors::Descriptors;
pub(crate) use exits::EndedImage;
pub(crate) use file_metrics::{memory_cgroup, rollup_metrics, statm_metrics, status_metrics};
pub(crate) use fork_tracker::ForkReport;
pub(crate) use given_up::GivenUp;
pub(crate) use governor::Governor;
pub(crate) use memory_maps::memory_maps_note;
pub use options::SamplerOptions;
pub(crate) use plan::Plan;
pub use pss_budget::PssBudget;
pub(crate) use read_file::{file_error, read_file};
#[cfg(feature = "fuzzing")]
pub(crate) use row_values::read_any_rows;
pub use snapshot::{Sample, Snapshot};
pub use sweep_by::SweepBy;
pub(crate) use test_groups::{TestGroups, TestScope};

use crate::batch::Change;
use crate::clock::Now;
use crate::counts::SweepCounts;
use crate::error::ReadError;
use crate::events::{ProcessEvents, TaskExit};
use crate::identity::Comm;
use crate::metric::Files;
use crate::parse::{parse_stat, parse_status};
use crate::proc::{Listing, ProcRoot, ReadBuffer};
use crate::schema::KnownPss;
use crate::units::ClockTicks;
use discovery::Discovery;
use exits::ExitMatcher;
use fork_tracker::ForkTracker;
use processes::Processes;
use redescription::Redescription;

/// How often a sweep looks again at what began another program meanwhile; then that is for the next sweep.
const MAX_LOOKS: u32 = 3;

/// Reads the memory of all processes, in memory that it uses again for each sweep.
///
/// ```
/// use memsample::{Files, Metric, Sampler, SamplerOptions};
///
/// let mut sampler = Sampler::new(SamplerOptions::default())?;
/// let snapshot = sampler.sweep(Files::STATM | Files::STATUS);
/// for sample in snapshot.samples() {
///     let swap = sample.get(Metric::Swap); // `None` where it was not read
///     println!("{} {}: {} bytes resident, {swap:?} swapped", sample.pid(), sample.comm(), sample.rss_bytes());
/// }
/// # std::io::Result::Ok(())
/// ```
///
/// A sweep that finds no new process allocates nothing. It never fails as a whole: what could not be
/// read is counted in [`SweepCounts`], and absent from the samples.
///
/// Limits: an exec that changes neither the size of the code nor, where the kernel shows them, the
/// addresses of code and stack is not noticed. A process that lives between two sweeps is not seen. A
/// [`Recorder`](crate::Recorder) learns of both from the kernel, where it tells.
pub struct Sampler {
    processes: Processes,
    discovery: Discovery,
    /// The forks that the kernel reports; `None` where it does not.
    forks: Option<ForkTracker>,
    redescription: Redescription,
}

impl Sampler {
    /// A process with more resident memory is not asked for its PSS: the kernel would keep its memory
    /// map locked for more than 60 ms, and the process would wait when it next maps memory.
    pub const MAX_ROLLUP_RSS_BYTES: u64 = Processes::MAX_ROLLUP_RSS_BYTES;

    /// Opens `/proc` and the files of every process in it.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened or listed, or holds no process; or no thread can be started for what may not
    /// come back from the kernel; or BPF does not work, and nothing else is to be used ([`SweepBy::Bpf`]).
    pub fn new(options: SamplerOptions) -> io::Result<Self> {
        let root = options.open_root()?;
        let mut listing = Listing::new();
        let processes = listing.read(root.directory())?.len();
        if processes == 0 {
            return Err(root.is_no_tree());
        }
        let discovery = Discovery::new(listing, processes);
        let sweep_by = options.sweep_by;
        let mut processes = Processes::new(root, options, processes);
        processes.reader.readers.start()?;
        let redescription = Redescription::new();
        let mut sampler = Self { processes, discovery, forks: None, redescription };
        sampler.discover();
        sampler.processes.settle_source(sweep_by).map_err(io::Error::other)?;
        Ok(sampler)
    }

    /// Reads `files` of every process that has memory.
    ///
    /// `statm` is always read. `smaps_rollup` of all processes takes tens of milliseconds and more.
    pub fn sweep(&mut self, files: Files) -> Snapshot<'_> {
        // A fork from before the previous sweep is of no more interest.
        self.settle_forks(u64::MAX);
        self.take_reports(|_| (), |_| ());
        let plan = Plan {
            files,
            newborn_files: Files::empty(),
            on_change: Files::empty(),
            rollups_until_boot_ns: u64::MAX,
        };
        self.sweep_as_planned(&plan)
    }

    /// Reads `files` of every process that has memory, and `smaps_rollup` of as many as `budget` allows.
    ///
    /// [`Sample::files`] says of which it was read.
    pub fn sweep_within(&mut self, files: Files, budget: &mut PssBudget) -> Snapshot<'_> {
        self.sweep(files - Files::SMAPS_ROLLUP);
        let now = self.processes.reader.clock.now();
        let (governor, tests, until_boot_ns) = budget.parts(now.boot_ns);
        self.read_rollups_within(governor, tests, until_boot_ns);
        Snapshot::new(&self.processes)
    }

    /// Asks the kernel to report every fork, exec and exit, by the proc connector, instead of looking for
    /// new processes at each sweep. Then an exec that changes no number is seen too, and the parent of a
    /// process is the one that forked it.
    ///
    /// A process that lives between two sweeps is still in none of them.
    ///
    /// # Errors
    ///
    /// Why the kernel does not report them, as a sentence for a person: it needs `CAP_NET_ADMIN`, and a program
    /// outside of containers. The sampler continues as before.
    pub fn follow_process_events(&mut self) -> io::Result<()> {
        let events = ProcessEvents::open().map_err(io::Error::other)?;
        self.follow_events(events);
        Ok(())
    }

    /// The files that this kernel has, of those that the sampler reads.
    #[must_use]
    pub fn supported_files(&self) -> Files {
        self.processes.reader.supported
    }

    /// The descriptors that the sampler keeps open, and how many it may.
    #[must_use]
    pub fn descriptors(&self) -> Descriptors {
        self.processes.reader.descriptors
    }

    /// Returns whether processes are read by BPF: the pass of a program in the kernel, instead of files of `/proc`.
    #[must_use]
    pub fn sweeps_by_bpf(&self) -> bool {
        self.processes.source.is_bpf()
    }

    /// Returns why not all of them are read by BPF, or no longer, where [`SweepBy::Auto`] or [`SweepBy::Bpf`] was asked
    /// for.
    #[must_use]
    pub fn sweep_note(&self) -> Option<&str> {
        self.processes.source.note()
    }

    /// Returns what the last sweep did and did not read.
    pub(crate) fn counts(&self) -> SweepCounts {
        self.processes.counts()
    }

    /// Returns the readings that have not come back until now.
    pub(crate) fn given_up(&mut self) -> &mut [GivenUp] {
        self.processes.reader.given_up()
    }

    /// Returns the CPU time of the threads that read what may not come back, in nanoseconds.
    pub(crate) fn reader_threads_cpu_ns(&self) -> u64 {
        self.processes.reader.readers.cpu_ns()
    }

    /// Returns the control group of each process that was read, as of the last look.
    pub(crate) fn cgroup_paths(&self) -> impl Iterator<Item = &[u8]> {
        let read = self.processes.entries.iter().filter(|entry| !entry.read.is_empty());
        read.filter_map(|entry| entry.process()?.identity.cgroup.as_deref())
    }

    /// Returns whether the tree is that of the live kernel, as this program sees it.
    pub(crate) fn sees_own_namespace(&self) -> bool {
        self.processes.reader.root.shares_pid_namespace()
    }

    /// Returns whether the kernel answers in the tree, and it is no copy.
    pub(crate) fn is_live(&self) -> bool {
        self.processes.reader.root.is_live()
    }

    /// Brings the entries up to date, and reads what `plan` says.
    pub(crate) fn sweep_as_planned(&mut self, plan: &Plan) -> Snapshot<'_> {
        self.processes.counts = SweepCounts::default();
        self.discover();
        self.processes.read(plan);
        self.look_again(plan);
        self.processes.compare_memory_maps();
        self.redescription.redescribe(&mut self.processes);
        self.processes.finish(plan);
        Snapshot::new(&self.processes)
    }

    /// Brings the entries up to date with the processes that there are.
    fn discover(&mut self) {
        let Self { processes, discovery, forks, .. } = self;
        let now = processes.reader.clock.now();
        processes.swept_before_boot_ns =
            std::mem::replace(&mut processes.swept_boot_ns, now.boot_ns);
        match forks {
            Some(forks) => forks.discover(processes, discovery, &now),
            None => discovery.discover(processes, now.boot_ns),
        }
    }

    /// Looks again at what began another program while it was looked at for the first time, so that its number, its
    /// arguments and its memory are of one image.
    fn look_again(&mut self, plan: &Plan) {
        let Self { processes, forks, .. } = self;
        for _ in 0..MAX_LOOKS {
            if let Some(forks) = forks {
                let now = processes.reader.clock.now();
                forks.drain(processes, &now);
            }
            if !processes.read_executed(plan) {
                return;
            }
        }
    }

    /// Begins to follow what the kernel reports.
    pub(crate) fn follow_events(&mut self, events: ProcessEvents) {
        self.forks = Some(ForkTracker::new(events));
        self.processes.reader.forks_are_reported = true;
    }

    /// Forgets forks of which no more will be reported, and returns how many of those processes were not
    /// seen: neither sampled nor with an exit record.
    ///
    /// `recorded` is the last draining of events before the exit records were drained.
    pub(crate) fn settle_forks(&mut self, recorded: u64) -> u32 {
        self.forks.as_mut().map_or(0, |forks| forks.settle(recorded))
    }

    /// Takes out the forks that were reported since the last call, in their order, and those of processes of which
    /// nothing else became known.
    pub(crate) fn take_reports(
        &mut self,
        forked: impl FnMut(ForkReport),
        unseen: impl FnMut(ForkReport),
    ) {
        if let Some(forks) = &mut self.forks {
            let (all, lost) = forks.take_reports();
            all.for_each(forked);
            lost.for_each(unseen);
        }
    }

    /// Takes in what the kernel reported up to now, so that exit records find the forks of their processes.
    ///
    /// Returns the number of this draining, for [`settle_forks`](Self::settle_forks).
    pub(crate) fn drain_events(&mut self, now: &Now) -> u64 {
        match &mut self.forks {
            Some(forks) => forks.drain(&mut self.processes, now),
            None => 0,
        }
    }

    /// Begins to remember what has exited until its record comes.
    pub(crate) fn expect_exits(&mut self) {
        self.processes.unmatched_exits.get_or_insert_default();
    }

    /// Forgets exits whose record did not come.
    pub(crate) fn forget_old_exits(&mut self) {
        if let Some(exits) = &mut self.processes.unmatched_exits {
            exits.retain_mut(|exit| {
                exit.age += 1;
                exit.age <= 2
            });
        }
    }

    /// Finds the image that an exit record belongs to, or makes one where it was never sampled.
    pub(crate) fn image_that_ended(&mut self, exit: &TaskExit, now: &Now) -> EndedImage {
        let Self { processes, forks, .. } = self;
        ExitMatcher { processes, forks: forks.as_mut() }.image_that_ended(exit, now)
    }

    /// Returns what the last sweep read of every process that [`hand_over`](Self::hand_over) leaves
    /// out.
    pub(crate) fn common_files(&self) -> Files {
        self.processes.common_files
    }

    /// Appends what changed since the last call, and returns how many changes that are.
    pub(crate) fn hand_over(&mut self, changes: &mut Vec<Change>) -> u32 {
        handover::hand_over(&mut self.processes, changes)
    }

    /// Appends all that a batch can say of the last sweep, and returns how many changes that are.
    pub(crate) fn hand_over_all(&self, changes: &mut Vec<Change>) -> u32 {
        handover::hand_over_all(&self.processes, changes)
    }

    /// Returns what is known of the PSS of the processes that the last sweep read; `None` where this
    /// kernel has none.
    pub(crate) fn known_pss(&self) -> Option<KnownPss> {
        known_pss::known_pss(&self.processes)
    }

    /// Reads `smaps_rollup` of those that `governor` chooses, tests first, until `until_boot_ns`.
    pub(crate) fn read_rollups_within(
        &mut self,
        governor: &mut Governor,
        tests: &mut TestGroups,
        until_boot_ns: u64,
    ) {
        governor.read_rollups(&mut self.processes, tests, until_boot_ns);
    }
}

/// Reads when the process began that has `pid` now, and its command name.
///
/// # Errors
///
/// There is none, or it may not be looked at.
pub(crate) fn start_and_name_of(
    root: &ProcRoot,
    pid: i32,
) -> Result<(ClockTicks, Comm), ReadError> {
    let directory = root.open_process(pid)?;
    let mut buffer = ReadBuffer::new();
    let stat = parse_stat(read_file(root, &mut buffer, &directory, c"stat")?)?;
    Ok((stat.starttime, Comm::new(stat.comm)))
}

/// Returns why a recording of the process alone would be empty, if it would be: no memory is of it, or not by this number.
///
/// # Errors
///
/// It may not be looked at.
pub(crate) fn lack_of_memory(root: &ProcRoot, pid: i32) -> Result<Option<String>, ReadError> {
    let directory = root.open_process(pid)?;
    let mut buffer = ReadBuffer::new();
    let status = parse_status(read_file(root, &mut buffer, &directory, c"status")?)?;
    if let Some(process) = status.tgid.filter(|&tgid| u64::try_from(pid) != Ok(tgid)) {
        return Ok(Some(format!("it is a thread of the process {process}")));
    }
    let stat = parse_stat(read_file(root, &mut buffer, &directory, c"stat")?)?;
    Ok(match stat.is_kernel_thread() {
        true => Some("it is a kernel thread, which has no memory of its own".to_owned()),
        false if stat.state == b'Z' && stat.num_threads <= 1 => {
            Some("it has ended, and waits for its parent to take note".to_owned())
        }
        false => None,
    })
}
