//! Reading all processes of a machine, again and again.
//!
//! The life of a process here: [`discovery`] finds it and opens its files, each sweep reads them
//! through the kept descriptors ([`reading`]), until the kernel answers that it has ended.

mod births;
mod descriptors;
mod discovery;
mod ends;
mod entry;
mod file_metrics;
mod governor;
mod handover;
mod known_pss;
mod reading;
mod snapshot;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use descriptors::Descriptors;
pub(crate) use ends::EndedImage;
pub(crate) use file_metrics::{memory_cgroup, rollup_metrics, statm_metrics, status_metrics};
pub(crate) use governor::Governor;
pub use snapshot::{Sample, Snapshot};

use crate::cgroup_reader::OpenHierarchies;
use crate::clock::{Clock, SystemClock};
use crate::counts::SweepCounts;
use crate::error::ReadError;
use crate::host::Host;
use crate::identity::{Comm, Identity};
use crate::identity_rules::{IdentityRules, KeptArguments, Redaction};
use crate::metric::{Files, Metric};
use crate::parse::parse_stat;
use crate::proc::{Listing, MachineFile, ProcRoot, ReadBuffer};
use crate::role_rule::RoleRule;
use crate::slot::Slot;
use crate::units::ClockTicks;
use births::Births;
use ends::Unexplained;
use entry::{Entry, EntryState, Occupant, Slots};
pub(crate) use reading::read_file;
use reading::{ImageDescription, Reader, Reading};

/// How a [`Sampler`] reads.
#[derive(Clone)]
pub struct SamplerOptions {
    proc_root: PathBuf,
    sys_root: Option<PathBuf>,
    host: Host,
    clock: Arc<dyn Clock>,
    max_descriptors: Option<usize>,
    rules: IdentityRules,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            sys_root: None,
            host: Host::current(),
            clock: SystemClock::shared(),
            max_descriptors: None,
            rules: IdentityRules::default(),
        }
    }
}

impl SamplerOptions {
    /// Reads another tree than `/proc`: a mount elsewhere, or a captured copy.
    ///
    /// In a copy no descriptor follows a process, so it is listed and opened at each sweep.
    #[must_use]
    pub fn proc_root(mut self, path: impl Into<PathBuf>) -> Self {
        self.proc_root = path.into();
        self
    }

    /// Reads control groups and compressed swap from another tree than `/sys`: a captured copy, with
    /// `fs/cgroup` and `block` in it.
    ///
    /// By default a live `/proc` goes with the `/sys` of this machine, and a copy with none.
    #[must_use]
    pub fn sys_root(mut self, path: impl Into<PathBuf>) -> Self {
        self.sys_root = Some(path.into());
        self
    }

    /// Takes the page size and tick rate of the machine that a captured tree is from.
    #[must_use]
    pub fn host(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// Takes time from another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps at most this many descriptors open; the files of further processes are opened for each
    /// reading, which costs about eight times as much.
    ///
    /// By default the sampler keeps half of what `RLIMIT_NOFILE` allows, and leaves the other half
    /// to the program that links it. It never changes the limit.
    #[must_use]
    pub fn max_descriptors(mut self, descriptors: usize) -> Self {
        self.max_descriptors = Some(descriptors);
        self
    }

    /// Sets what is recorded of the arguments of processes.
    #[must_use]
    pub fn arguments(mut self, kept: KeptArguments) -> Self {
        self.rules.kept = kept;
        self
    }

    /// Takes what matches out of the arguments. May be called for several patterns.
    #[must_use]
    pub fn redact(mut self, redaction: Redaction) -> Self {
        self.rules.redactions.push(redaction);
        self
    }

    /// Names the processes that fit a rule. Of several rules that fit the first holds.
    #[must_use]
    pub fn role(mut self, rule: RoleRule) -> Self {
        self.rules.roles.push(rule);
        self
    }

    pub(crate) fn identity_rules(&self) -> &IdentityRules {
        &self.rules
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn root_path(&self) -> &Path {
        &self.proc_root
    }

    /// Returns the `/sys` that goes with the tree.
    pub(crate) fn sys_path(&self, live: bool) -> Option<&Path> {
        self.sys_root.as_deref().or(live.then_some(Path::new("/sys")))
    }

    /// Opens the control groups that go with the tree.
    pub(crate) fn open_cgroups(&self, live: bool) -> Option<OpenHierarchies> {
        match &self.sys_root {
            Some(root) => Some(OpenHierarchies::captured(&root.join("fs/cgroup"))),
            None => live.then(OpenHierarchies::mounted),
        }
    }

    pub(crate) fn host_constants(&self) -> Host {
        self.host
    }

    pub(crate) fn open_root(&self) -> io::Result<ProcRoot> {
        ProcRoot::open(&self.proc_root)
    }
}

/// What a sweep shall read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of every process.
    pub(crate) files: Files,
    /// In addition, of a process that is swept for the first time.
    pub(crate) newborn_files: Files,
    /// In addition, of a process whose `statm` is another than before. If `status` is among them, it
    /// then holds until that happens again.
    pub(crate) on_change: Files,
    /// When to stop reading `smaps_rollup` and leave the rest to the next sweep. One at least is
    /// read, so that a round always ends.
    pub(crate) rollups_until_boot_ns: u64,
}

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
    reader: Reader,
    listing: Listing,
    loadavg: MachineFile,
    /// Ascending by pid.
    entries: Vec<Entry>,
    /// Process images that have ended since the last batch, of which a batch knows the beginning.
    departed: Vec<Slot>,
    slots: Slots,
    /// What ended and whose exit record has not come; `None` where none will.
    unexplained: Option<Vec<Unexplained>>,
    /// What the kernel tells of processes that begin; `None` where it does not.
    births: Option<Births>,
    swept_boot_ns: u64,
    swept_before_boot_ns: u64,
    /// The pid that the kernel gave last, as of the sweep before.
    last_pid: Option<i32>,
    listed_boot_ns: u64,
    looked_again_boot_ns: u64,
    /// Pids to look at in the next sweep: their process ended, and another may have the pid already.
    suspects: Vec<i32>,
    /// Memory for the pids that a listing shows for the first time.
    newcomers: Vec<i32>,
    counts: SweepCounts,
    /// What the last sweep read of every process that was due.
    common_files: Files,
}

impl Sampler {
    /// A process with more resident memory is not asked for its PSS: the kernel would keep its memory
    /// map locked for more than 60 ms, and the process would wait when it next maps memory.
    pub const MAX_ROLLUP_RSS_BYTES: u64 = 4 << 30;

    /// Opens `/proc` and the files of every process in it.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened or listed, or holds no process.
    pub fn new(options: SamplerOptions) -> io::Result<Self> {
        let root = options.open_root()?;
        let mut listing = Listing::new();
        let processes = listing.read(root.directory())?.len();
        if processes == 0 {
            return Err(root.is_no_tree());
        }
        let descriptors = Descriptors::new(options.max_descriptors);
        let reader = Reader::new(root, options.host, options.clock, descriptors, options.rules);
        reader.grow_descriptor_table(processes);
        let mut sampler = Self {
            reader,
            listing,
            loadavg: MachineFile::new(c"loadavg"),
            entries: Vec::with_capacity(2 * processes),
            departed: Vec::new(),
            slots: Slots::default(),
            unexplained: None,
            births: None,
            swept_boot_ns: 0,
            swept_before_boot_ns: 0,
            last_pid: None,
            listed_boot_ns: 0,
            looked_again_boot_ns: 0,
            suspects: Vec::with_capacity(2 * processes),
            newcomers: Vec::with_capacity(2 * processes),
            counts: SweepCounts::default(),
            common_files: Files::empty(),
        };
        sampler.discover();
        Ok(sampler)
    }

    /// Reads `files` of every process that has memory.
    ///
    /// `statm` is always read. `smaps_rollup` of all processes takes tens of milliseconds and more.
    pub fn sweep(&mut self, files: Files) -> Snapshot<'_> {
        // What ended before the sweep before this one is of no more interest.
        self.settle_births();
        let plan = Plan {
            files,
            newborn_files: Files::empty(),
            on_change: Files::empty(),
            rollups_until_boot_ns: u64::MAX,
        };
        self.sweep_as_planned(&plan)
    }

    /// The files that this kernel has, of those that the sampler reads.
    #[must_use]
    pub fn supported_files(&self) -> Files {
        self.reader.supported
    }

    /// The descriptors that the sampler keeps open, and how many it may.
    #[must_use]
    pub fn descriptors(&self) -> Descriptors {
        self.reader.descriptors
    }

    /// Returns what the last sweep did and did not read.
    pub(crate) fn counts(&self) -> SweepCounts {
        self.counts
    }

    /// Returns the control group of each process that was read, as it was when its image was first
    /// seen.
    pub(crate) fn cgroup_paths(&self) -> impl Iterator<Item = &[u8]> {
        let read = self.entries.iter().filter(|entry| !entry.read.is_empty());
        read.filter_map(|entry| entry.process()?.identity.cgroup.as_deref())
    }

    /// Says whether the tree is that of the live kernel, as this program sees it.
    pub(crate) fn sees_own_namespace(&self) -> bool {
        self.reader.root.shares_pid_namespace()
    }

    pub(crate) fn sweep_as_planned(&mut self, plan: &Plan) -> Snapshot<'_> {
        self.counts = SweepCounts::default();
        self.discover();
        let files = (plan.files | Files::STATM) & self.reader.supported;
        let on_change = plan.on_change & self.reader.supported;
        let newborn_files = files | (plan.newborn_files & self.reader.supported);
        for entry in &mut self.entries {
            if entry.state.contains(EntryState::GONE) {
                entry.read = Files::empty();
                continue;
            }
            match entry.occupant {
                Occupant::Process(_) => {}
                Occupant::Zombie(start) => {
                    let reaped = self.reader.is_no_zombie(entry.pid, start, entry.statm.as_ref());
                    entry.state.set(EntryState::GONE, reaped);
                    continue;
                }
                Occupant::Denied => {
                    self.counts.denied += 1;
                    continue;
                }
                Occupant::KernelThread(_) => continue,
            }
            let files =
                if entry.state.contains(EntryState::NEWBORN) { newborn_files } else { files };
            match self.reader.read(entry, files, on_change, &mut self.counts) {
                Reading::Alive => {}
                Reading::NewImage(image) => {
                    retire(entry, &mut self.departed, &mut self.slots);
                    begin_image(entry, image, &mut self.slots);
                    self.counts.born += 1;
                }
                Reading::NoMemory => {
                    self.counts.gone += 1;
                    Unexplained::remember(&mut self.unexplained, entry, self.swept_before_boot_ns);
                    retire(entry, &mut self.departed, &mut self.slots);
                    become_zombie(entry, &mut self.reader.descriptors);
                }
                Reading::Gone => {
                    entry.read = Files::empty();
                    entry.state |= EntryState::GONE;
                }
            }
            self.counts.processes += u32::from(!entry.read.is_empty());
        }
        self.common_files = files - Files::SMAPS_ROLLUP;
        self.common_files |= on_change & Files::STATUS;
        if files.contains(Files::SMAPS_ROLLUP) && self.read_rollups(plan.rollups_until_boot_ns) {
            self.common_files |= Files::SMAPS_ROLLUP;
        }
        self.forget_gone();
        Snapshot::new(self)
    }

    /// Reads `smaps_rollup` of the processes that are due until `until_boot_ns`, and returns whether
    /// this sweep began and finished a round.
    fn read_rollups(&mut self, until_boot_ns: u64) -> bool {
        let begins = !self.entries.iter().any(|entry| entry.state.contains(EntryState::ROLLUP_DUE));
        let mut out_of_time = false;
        for entry in &mut self.entries {
            let due = begins || entry.state.contains(EntryState::ROLLUP_DUE);
            let due = due && !entry.read.is_empty();
            entry.state.set(EntryState::ROLLUP_DUE, due && out_of_time);
            if !due {
                continue;
            }
            if out_of_time {
                self.counts.rollups_pending += 1;
                continue;
            }
            let rss_bytes = entry.process().map_or(0, |process| process.metrics.get(Metric::Rss));
            if rss_bytes > Self::MAX_ROLLUP_RSS_BYTES {
                self.counts.rollups_skipped += 1;
                continue;
            }
            self.reader.read_rollup(entry, &mut self.counts);
            self.counts.rollups_read += 1;
            out_of_time = self.reader.clock.now().boot_ns >= until_boot_ns;
        }
        begins && self.counts.rollups_pending == 0
    }

    /// Drops what has ended, and remembers to look at its pid in the next sweep.
    fn forget_gone(&mut self) {
        let Self {
            entries, departed, slots, suspects, reader, counts, unexplained, births, ..
        } = self;
        entries.retain_mut(|entry| {
            if !entry.state.contains(EntryState::GONE) {
                return true;
            }
            if births.is_none() {
                suspects.push(entry.pid);
            }
            counts.gone += u32::from(entry.process().is_some());
            Unexplained::remember(unexplained, entry, self.swept_before_boot_ns);
            retire(entry, departed, slots);
            reader.descriptors.release(entry.descriptors());
            false
        });
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

/// Ends the image of an entry. Its slot is free at once if no batch knows it, else once a batch knows
/// the end.
fn retire(entry: &mut Entry, departed: &mut Vec<Slot>, slots: &mut Slots) {
    let Some(process) = entry.process() else {
        return;
    };
    if entry.state.contains(EntryState::IDENTITY_REPORTED) {
        departed.push(process.slot);
    } else {
        slots.give_back(process.slot);
    }
}

/// Goes on as another program after an exec: same process, same descriptors, another image.
fn begin_image(entry: &mut Entry, image: ImageDescription, slots: &mut Slots) {
    let Occupant::Process(process) = &mut entry.occupant else {
        return;
    };
    let ImageDescription { uid, comm, exe, cmdline, cgroup, role } = image;
    let Identity { pid, start, start_ns, exec, ppid, .. } = *process.identity;
    let exec = exec.saturating_add(1);
    let number = slots.next_process();
    let identity = Identity {
        process: number,
        pid,
        start,
        start_ns,
        exec,
        ppid,
        uid,
        comm,
        exe,
        cmdline,
        cgroup,
        role,
    };
    process.comm = comm;
    process.identity = Arc::new(identity);
    process.slot = slots.take();
    process.rollup = Default::default();
    process.pss_boot_ns = None;
    entry.state -= EntryState::REPORTED;
    // So that the next sweep reads its details.
    entry.state |= EntryState::NEWBORN;
}

/// Keeps only what tells when the process is reaped.
fn become_zombie(entry: &mut Entry, descriptors: &mut Descriptors) {
    let Some(process) = entry.process() else {
        return;
    };
    let start = process.identity.start;
    descriptors.release(process.descriptors());
    entry.occupant = Occupant::Zombie(start);
    entry.read = Files::empty();
}
