//! The shared sweeps, projected onto one recording: its ticks, its processes, its tests.
//!
//! A projection keeps the present numbers of every process, from all sweeps. At a tick of its session it
//! emits what changed since the tick before.

use std::collections::VecDeque;
use std::sync::Arc;

use super::attribution::Attribution;
use super::options::{Pss, RecorderOptions};
use super::parentage::Parentage;
use super::projected_image::{ProjectedImage, TickFiles};
use super::schedule::Rate;
use super::scopes::TestName;
use super::sweeps::{Asked, EndedIdentity, ReportedFork, SessionNumber, SessionTick, Sweeps};
use crate::batch::{Batch, BatchTick, Change};
use crate::clock::Now;
use crate::counts::CgroupCounts;
use crate::counts::{ExitCounts, SweepCounts};
use crate::identity::Identity;
use crate::metric::Files;
use crate::recording::ClockAnchor;
use crate::schema::cgroups::CgroupSample;
use crate::schema::exits::Exit;
use crate::schema::marks::Mark;
use crate::schema::system::SystemSample;
use crate::schema::ticks::Tick;
use crate::slot::Slot;
use crate::slot_map::SlotMap;
use crate::units::START_STEP_NS;

/// Images that have ended and whose exit record may still come, at most: it comes one sweep later.
const MAX_ENDED: usize = 16 * 1024;
pub(super) struct Projection {
    number: SessionNumber,
    anchor: ClockAnchor,
    /// By how much the wall clock was off the sampler's when the session began, in microseconds.
    clock_shift_us: i64,
    detail: Rate,
    pss: Option<Rate>,
    exits: bool,
    pub(super) attribution: Attribution,
    images: SlotMap<ProjectedImage>,
    parentage: Parentage,
    /// Sweeps so far.
    sweep: u64,
    /// Images of which something was said since the last tick of the session.
    touched: Vec<Slot>,
    /// Images of the recording that have ended since then.
    ends: Vec<Slot>,
    ended: VecDeque<Ended>,
    /// Images in the recording.
    recorded: u32,
    /// What the sweeps since the last tick counted.
    counts: SweepCounts,
    exit_counts: ExitCounts,
    pending_exits: Vec<Exit>,
    system: Option<SystemSample>,
    /// The last reading of control groups since then.
    cgroups: Vec<CgroupSample>,
    cgroup_counts: CgroupCounts,
    /// Whether a round of PSS was begun for the session and is not finished.
    pss_round: bool,
    latest_ts_ms: Option<i64>,
    /// When the sweep was that is taken.
    sweep_ms: i64,
    /// The last sweep that read PSS of all that it has no row of, and when it was.
    all_pss_read: Option<(u64, i64)>,
}

struct Ended {
    identity: Arc<Identity>,
    recorded: bool,
    inside: bool,
    test: Option<TestName>,
}

impl Projection {
    pub(super) fn new(
        number: SessionNumber,
        options: &RecorderOptions,
        start: &Now,
        sampler_start: &Now,
        attribution: Attribution,
    ) -> Self {
        let utc_minus_boot = |now: &Now| i128::from(now.utc_ns) - i128::from(now.boot_ns);
        let shift_us = (utc_minus_boot(sampler_start) - utc_minus_boot(start)) / 1000;
        Self {
            number,
            anchor: ClockAnchor { boot_ns: start.boot_ns, utc_ns: start.utc_ns },
            clock_shift_us: i64::try_from(shift_us).unwrap_or(i64::MAX),
            detail: options.detail,
            pss: match options.pss {
                Pss::AtRate(Rate::Off) => None,
                Pss::AtRate(rate) => Some(rate),
                Pss::WithinShare(_) => Some(Rate::EveryTick),
            },
            exits: options.events,
            attribution,
            images: SlotMap::default(),
            parentage: Parentage::default(),
            sweep: 0,
            touched: Vec::new(),
            ends: Vec::new(),
            ended: VecDeque::new(),
            recorded: 0,
            counts: SweepCounts::default(),
            exit_counts: ExitCounts::default(),
            pending_exits: Vec::new(),
            system: None,
            cgroups: Vec::new(),
            cgroup_counts: CgroupCounts::default(),
            pss_round: false,
            latest_ts_ms: None,
            sweep_ms: 0,
            all_pss_read: None,
        }
    }

    /// Appends to `out` what the sweeps bring to the session.
    pub(super) fn project(&mut self, sweeps: &Sweeps, out: &mut Batch) {
        let Sweeps { batch, ended, due, forks, unseen, is_state, lacks_forks } = sweeps;
        let number = self.number;
        let mut due = due.iter().filter(|due| due.session == number).peekable();
        let mut exits = batch.exits.iter().zip(ended).peekable();
        let mut unsampled = exits.clone();
        let mut forks = forks.iter().copied().peekable();
        let mut unseen = unseen.iter().copied().peekable();
        let mut cgroups = batch.cgroups.iter().peekable();
        let mut systems = batch.system.iter().peekable();
        for (index, (tick, changes)) in batch.ticks().enumerate() {
            let due = due.next_if(|due| due.tick == index);
            let is_last = index + 1 == batch.ticks.len();
            let Some(common) = tick.common_files else {
                due.into_iter().for_each(|due| self.write_dropped(&tick.tick, due, out));
                continue;
            };
            self.sweep += 1;
            self.sweep_ms = tick.tick.ts_ms;
            if common.contains(Files::SMAPS_ROLLUP) {
                self.all_pss_read = Some((self.sweep, self.sweep_ms));
            }
            for slot in self.attribution.apply_orders(tick.tick.began_ns) {
                self.touch(slot);
            }
            if self.exits && (tick.tick.counts.events_lost > 0 || (*lacks_forks && is_last)) {
                self.attribution.note_lost_reports();
            }
            while let Some(fork) = forks.next_if(|fork| fork.ts_ms <= tick.tick.ts_ms) {
                self.note_fork(fork);
            }
            if *is_state && is_last {
                self.take_state(changes);
            } else {
                changes.iter().for_each(|change| self.take(change));
            }
            while let Some(exit) = unsampled.next_if(|(exit, _)| exit.ts_ms <= tick.tick.ts_ms) {
                self.note_unsampled(exit);
            }
            self.attribution.settle();
            let ts_ms = tick.tick.ts_ms;
            while let Some(fork) = unseen.next_if(|fork| fork.ts_ms <= ts_ms) {
                self.note_unseen(fork);
            }
            self.add_counts(&tick.tick);
            while let Some(exit) = exits.next_if(|(exit, _)| exit.ts_ms <= ts_ms) {
                self.take_exit(exit, due.is_some().then_some(common));
            }
            self.attribution.end_sweep();
            while let Some(system) = systems.next_if(|system| system.ts_ms <= ts_ms) {
                self.system = Some(*system);
            }
            if tick.tick.cgroups != CgroupCounts::default() {
                self.cgroup_counts = tick.tick.cgroups;
                self.cgroups.clear();
            }
            while let Some(cgroup) = cgroups.next_if(|cgroup| cgroup.ts_ms <= ts_ms) {
                self.cgroups.push(cgroup.clone());
            }
            if let Some(due) = due {
                self.write(&tick.tick, common, due, out);
            }
        }
        // What ended since the last sweep, when there will be none any more.
        forks.for_each(|fork| self.note_fork(fork));
        unsampled.for_each(|exit| self.note_unsampled(exit));
        self.attribution.settle();
        unseen.for_each(|fork| self.note_unseen(fork));
        exits.for_each(|exit| self.take_exit(exit, None));
        let anchor = self.anchor;
        out.marks.extend(
            batch
                .marks
                .iter()
                .filter(|mark| mark.boot_ns >= anchor.boot_ns)
                .map(|mark| Mark { ts_ms: anchor.utc_ms(mark.boot_ns), ..mark.clone() }),
        );
    }

    /// Appends what is left when there will be no tick any more.
    pub(super) fn finish(&mut self, now: &Now, out: &mut Batch) {
        let ts_ms = self.anchor.utc_ms(now.boot_ns);
        self.write_exits(ts_ms, out);
    }

    fn touch(&mut self, slot: Slot) {
        if let Some(image) = self.images.get_mut(slot)
            && !std::mem::replace(&mut image.touched, true)
        {
            self.touched.push(slot);
        }
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::End(slot) => self.end(*slot),
            Change::Begin(slot, identity, _) => self.begin(*slot, identity),
            Change::Rename(slot, comm) => {
                if let Some(image) = self.images.get_mut(*slot) {
                    image.comm = *comm;
                }
                self.touch(*slot);
            }
            Change::Describe(slot, identity) => self.describe(*slot, identity),
            Change::Row(slot, row) => {
                let sweep = self.sweep;
                if let Some(image) = self.images.get_mut(*slot) {
                    image.metrics = row.metrics;
                    (image.sweep, image.files) = (sweep, row.files);
                    image.since |= row.files & (Files::STAT | Files::SMAPS_ROLLUP);
                    if row.files.contains(Files::SMAPS_ROLLUP) {
                        image.pss_read_ms = Some(self.sweep_ms);
                    }
                }
                self.touch(*slot);
            }
            Change::Absent(slot) => {
                let sweep = self.sweep;
                if let Some(image) = self.images.get_mut(*slot) {
                    (image.sweep, image.files) = (sweep, Files::empty());
                }
                self.touch(*slot);
            }
            // Of a recording, not of a sweep.
            Change::Assign(..) => {}
        }
    }

    fn begin(&mut self, slot: Slot, identity: &Arc<Identity>) {
        self.images.insert(slot, ProjectedImage::new(identity));
        self.parentage.begin(identity);
        self.attribution.begin(slot, identity);
        self.touch(slot);
    }

    /// An image has another user, control group or title.
    fn describe(&mut self, slot: Slot, identity: &Arc<Identity>) {
        let Some(image) = self.images.get_mut(slot) else { return };
        image.identity = Arc::clone(identity);
        self.attribution.describe(slot, identity);
        self.touch(slot);
    }

    fn end(&mut self, slot: Slot) {
        let Some(image) = self.images.remove(slot) else { return };
        self.parentage.end(&image.identity);
        if image.recorded.is_some() {
            self.ends.push(slot);
            self.recorded -= 1;
        }
        if self.exits && image.exit_known_at.is_none() {
            if self.ended.len() >= MAX_ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(Ended {
                identity: image.identity,
                recorded: image.recorded.is_some(),
                inside: self.attribution.is_inside(slot),
                test: self.attribution.test(slot),
            });
        }
        self.attribution.end(slot);
    }

    /// Takes all that there is, where changes were missed or there were none yet.
    fn take_state(&mut self, changes: &[Change]) {
        let mut missing: SlotMap<()> = SlotMap::default();
        for (slot, _) in self.images.iter() {
            missing.insert(slot, ());
        }
        let known = |projection: &Self, slot: Slot, identity: &Identity| {
            projection.images.get(slot).map(|image| image.identity.process == identity.process)
        };
        for change in changes {
            if let Change::Begin(slot, identity, _) = change
                && known(self, *slot, identity) == Some(true)
            {
                missing.remove(*slot);
            }
        }
        missing.iter().for_each(|(slot, ())| self.end(slot));
        for change in changes {
            match change {
                // It may have changed meanwhile.
                Change::Begin(slot, identity, _) if known(self, *slot, identity).is_some() => {
                    self.describe(*slot, identity);
                }
                change => self.take(change),
            }
        }
    }

    fn note_fork(&mut self, fork: ReportedFork) {
        // A recording without events is as if the kernel reported none.
        if self.exits {
            self.attribution.note_fork(fork);
        }
    }

    fn note_unseen(&mut self, fork: ReportedFork) {
        if self.exits {
            self.attribution.note_unseen(fork);
        }
    }

    /// Remembers who was never looked at, so that its children are known.
    fn note_unsampled(&mut self, (exit, ended): (&Exit, &EndedIdentity)) {
        if exit.unsampled.is_some() {
            self.attribution.note_unsampled(&ended.identity, &ended.ancestors);
            self.parentage.note_unsampled(&ended.identity);
        }
    }

    /// Takes in the end of a process. `common` are the files of the sweep, if a tick is to be written of it.
    fn take_exit(&mut self, (exit, ended): (&Exit, &EndedIdentity), common: Option<Files>) {
        if !self.exits {
            return;
        }
        let mut exit = exit.clone();
        // What began and ended since the sweep began may be of a test that did so too.
        // A start that `stat` recorded is up to one step too early.
        let is_rounded = exit.start_ns.is_multiple_of(START_STEP_NS);
        let begun_ns = exit.start_ns.saturating_add(if is_rounded { START_STEP_NS } else { 0 });
        let end_ns = begun_ns.saturating_add(exit.lived_ns);
        for slot in self.attribution.apply_orders(end_ns) {
            self.touch(slot);
        }
        let EndedIdentity { identity, ancestors } = ended;
        if let Some(identity) = &exit.unsampled {
            let (inside, test) = self.attribution.of_unsampled(identity, ancestors, end_ns);
            exit.test = test;
            if inside {
                self.push_exit(exit);
            }
            return;
        }
        // Either it has been seen to end, or it will be.
        let of = |identity: &Identity| identity.process == exit.process;
        if let Some(index) = self.ended.iter().rposition(|ended| of(&ended.identity)) {
            let Some(Ended { identity, recorded, inside, test }) = self.ended.remove(index) else {
                return;
            };
            exit.test = test;
            if !recorded {
                exit.unsampled = Some(identity);
            }
            if inside {
                self.push_exit(exit);
            }
            return;
        }
        let slot = self.attribution.slot_of(exit.pid);
        let slot =
            slot.filter(|&slot| self.images.get(slot).is_some_and(|image| of(&image.identity)));
        let sweep = self.sweep;
        let is_inside = slot.is_some_and(|slot| self.attribution.is_inside(slot));
        let recorded = slot.and_then(|slot| self.images.get_mut(slot)).is_some_and(|image| {
            // The sweep has still found it alive.
            let begins = common.is_some_and(|common| image.begins(sweep, common));
            image.exit_known_at = Some(sweep);
            image.recorded.is_some() || (is_inside && begins)
        });
        let (inside, test) = match slot {
            Some(slot) => (self.attribution.is_inside(slot), self.attribution.test(slot)),
            // It ended before the session had seen it.
            None => self.attribution.of_unsampled(identity, ancestors, end_ns),
        };
        exit.test = test;
        if !recorded {
            exit.unsampled = Some(Arc::clone(identity));
        }
        if inside {
            self.push_exit(exit);
        }
    }

    fn push_exit(&mut self, exit: Exit) {
        self.exit_counts.exits += 1;
        // Its row in `processes` is made of the record.
        if let Some(identity) = &exit.unsampled {
            self.parentage.record(identity);
        }
        self.pending_exits.push(exit);
    }

    fn add_counts(&mut self, tick: &Tick) {
        let SweepCounts { processes, born, gone, denied, unreadable, reopened, stuck, .. } =
            tick.counts;
        let before = self.counts;
        self.counts = SweepCounts {
            // Of this sweep alone: they are the same ones each time.
            processes,
            denied,
            unreadable,
            reopened,
            stuck,
            rollups_pending: tick.counts.rollups_pending,
            events_lost: before.events_lost + if self.exits { tick.counts.events_lost } else { 0 },
            born: before.born + born,
            gone: before.gone + gone,
            rollups_read: before.rollups_read + tick.counts.rollups_read,
            rollups_cost_us: before.rollups_cost_us.saturating_add(tick.counts.rollups_cost_us),
            rollups_skipped: before.rollups_skipped + tick.counts.rollups_skipped,
        };
        if self.exits {
            self.exit_counts.unseen += tick.exits.unseen;
            self.exit_counts.overflows += tick.exits.overflows;
        }
    }

    /// Returns what may stand in the row of a process that did nothing.
    fn quiet_files(&self, asked: Asked) -> Files {
        if asked.alone {
            return Files::all();
        }
        let mut files = Files::STATM;
        if asked.detail {
            files |= Files::DETAIL;
        }
        if matches!(self.detail, Rate::Every(_)) {
            files |= Files::STATUS;
        }
        match self.pss {
            Some(Rate::EveryTick) => files |= Files::SMAPS_ROLLUP,
            Some(_) if self.pss_round => files |= Files::SMAPS_ROLLUP,
            Some(_) | None => {}
        }
        files
    }

    /// Writes a tick of the session.
    fn write(&mut self, tick: &Tick, common: Files, due: &SessionTick, out: &mut Batch) {
        self.pss_round |= due.asked.pss;
        let quiet = self.quiet_files(due.asked);
        let common_here = common & quiet;
        let tick_files = TickFiles { common: common_here, quiet, detail: self.detail };
        let before = out.changes.len();
        let (mut born, gone, mut absent) = (0, self.ends.len() as u32, 0);
        out.changes.extend(self.ends.drain(..).map(Change::End));
        let mut touched = std::mem::take(&mut self.touched);
        // Before all, since a child may come before its parent.
        for &slot in &touched {
            if let Some(image) = self.images.get(slot)
                && self.attribution.is_inside(slot)
                && image.begins(self.sweep, common)
            {
                self.parentage.record(&image.identity);
            }
        }
        touched.retain(|&slot| {
            let inside = self.attribution.is_inside(slot);
            let Some(image) = self.images.get_mut(slot) else { return false };
            image.touched = false;
            let files = image.files_at(self.sweep, common);
            let is_over = image.exit_known_at.is_some() && !image.begins(self.sweep, common);
            if (!inside || is_over) && image.recorded.is_none() {
                image.since = Files::empty();
                return false;
            }
            if !inside {
                // It has left the target, and may come back. What is not said of it would be a row.
                out.changes.push(Change::Absent(slot));
                (absent, image.touched) = (absent + 1, true);
                return true;
            }
            if files.is_empty() {
                match image.recorded {
                    Some(_) => {
                        out.changes.push(Change::Absent(slot));
                        absent += 1;
                    }
                    // Perhaps at the next tick, about which nothing may be said.
                    None => image.touched = true,
                }
                return image.touched;
            }
            let mut parent = None;
            if image.recorded.is_none() {
                born += 1;
                parent = self.parentage.parent_of(&image.identity);
            }
            let test = self.attribution.test(slot);
            image.write(slot, files, &tick_files, (test, parent), out);
            false
        });
        self.touched = touched;
        self.recorded += born;
        let rows = self.recorded.saturating_sub(absent);
        let mut counts = std::mem::take(&mut self.counts);
        let outside = match self.attribution.takes_all() {
            true => 0,
            false => {
                (counts.born, counts.gone) = (born, gone);
                counts.processes.saturating_sub(rows)
            }
        };
        counts.processes = rows;
        if self.pss.is_none() {
            (counts.rollups_read, counts.rollups_cost_us) = (0, 0);
            (counts.rollups_pending, counts.rollups_skipped) = (0, 0);
        }
        if !due.asked.cgroups {
            self.cgroup_counts = CgroupCounts::default();
        }
        self.pss_round &= counts.rollups_pending > 0;
        let changes = u32::try_from(out.changes.len() - before).unwrap_or(u32::MAX);
        let ts_ms = self.anchor.utc_ms(due.due.planned_ns);
        let tick = Tick {
            ts_ms,
            planned_ns: due.due.planned_ns,
            counts,
            outside,
            late: due.due.late,
            missed: due.due.missed,
            clock_offset_us: tick.clock_offset_us.saturating_add(self.clock_shift_us),
            exits: ExitCounts {
                unattributed: self.attribution.take_unattributed(),
                ..std::mem::take(&mut self.exit_counts)
            },
            cgroups: std::mem::take(&mut self.cgroup_counts),
            ..*tick
        };
        out.ticks.push(BatchTick { tick, common_files: Some(common_here), changes });
        self.write_exits(ts_ms, out);
        self.parentage.end_tick();
        let system = self.system.take().filter(|_| due.asked.meminfo);
        out.system.extend(system.map(|system| SystemSample { ts_ms, ..system }));
        let cgroups = self.cgroups.drain(..).filter(|_| due.asked.cgroups);
        out.cgroups.extend(cgroups.map(|cgroup| CgroupSample { ts_ms, ..cgroup }));
        self.latest_ts_ms = Some(ts_ms);
    }

    /// Writes the exits since the last tick.
    fn write_exits(&mut self, ts_ms: i64, out: &mut Batch) {
        let Self { pending_exits, parentage, .. } = self;
        out.exits.extend(pending_exits.drain(..).map(|exit| {
            let unsampled = exit.unsampled.as_deref();
            let parent = unsampled.and_then(|identity| parentage.parent_of(identity));
            Exit { ts_ms, parent, ..exit }
        }));
    }

    /// Writes a tick whose samples found no room on their way here.
    fn write_dropped(&mut self, tick: &Tick, due: &SessionTick, out: &mut Batch) {
        let mut counts = tick.counts;
        if !self.attribution.takes_all() {
            // Who of them was in the target is not known; about as many as before.
            counts.processes = self.recorded;
        }
        let tick = Tick {
            ts_ms: self.anchor.utc_ms(due.due.planned_ns),
            planned_ns: due.due.planned_ns,
            counts,
            late: due.due.late,
            missed: due.due.missed,
            dropped: counts.processes,
            clock_offset_us: tick.clock_offset_us.saturating_add(self.clock_shift_us),
            ..*tick
        };
        out.ticks.push(BatchTick { tick, common_files: None, changes: 0 });
    }

    /// Returns the last tick, and the images that the recording has then.
    pub(super) fn latest(&self) -> Option<(i64, impl Iterator<Item = (Slot, &ProjectedImage)>)> {
        let images = self.images.iter().filter(|(_, image)| image.recorded.is_some());
        Some((self.latest_ts_ms?, images))
    }

    /// Returns when PSS of an image was read last, or an earlier instant; `None` where it never was.
    pub(super) fn pss_read_ms(&self, image: &ProjectedImage) -> Option<i64> {
        let with_all = self
            .all_pss_read
            .filter(|(sweep, _)| image.pss_read_ms.is_some() && *sweep > image.sweep);
        image.pss_read_ms.max(with_all.map(|(_, ms)| ms))
    }
}
