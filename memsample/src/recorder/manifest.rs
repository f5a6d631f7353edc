//! What `recording.json` says when a recording begins.

use std::collections::BTreeMap;
use std::path::Path;

use super::options::{Pss, RecorderOptions};
use super::schedule::Rate;
use crate::machine::{MachineReader, hidepid_note};
use crate::metric::Files;
use crate::recording::{
    ClockAnchor, Machine, Manifest, Provenance, RecordingState, Settings, SweepsFrom, file_names,
    new_recording_id,
};
use crate::sampler::{Descriptors, memory_maps_note};
use crate::schema::{FORMAT_VERSION, Totals};

/// What a recording must know of the sampler that feeds it.
#[derive(Clone)]
pub(super) struct SamplerFacts {
    pub(super) supported: Files,
    pub(super) descriptors: Descriptors,
    pub(super) sees_own_namespace: bool,
    pub(super) is_live: bool,
    pub(super) sweeps: SweepsFrom,
    pub(super) sweep_note: Option<String>,
}

/// Returns the manifest of a recording that begins.
pub(super) fn manifest(
    path: &Path,
    options: &RecorderOptions,
    sampler: &SamplerFacts,
    machine: &mut MachineReader,
    anchor: ClockAnchor,
) -> Manifest {
    let supported = sampler.supported;
    let mut notes = machine.notes();
    notes.extend(hidepid_note(options.sampler.root_path()));
    if !sampler.sees_own_namespace && sampler.is_live && options.events {
        notes.push(format!(
            "`{}` shows another pid namespace than that of this program: the kernel does not report exits and does not \
             report forks of it, processes that live between two ticks are not seen, and pids are those of `{0}`",
            options.sampler.root_path().display()
        ));
    }
    if !matches!(options.pss, Pss::AtRate(Rate::Off)) && !supported.contains(Files::SMAPS_ROLLUP) {
        notes.push(
            "this kernel has no smaps_rollup (it came with Linux 4.14): PSS and USS are null"
                .to_owned(),
        );
    }
    notes.extend(sampler.sweep_note.clone());
    if sampler.sees_own_namespace && sampler.is_live {
        notes.extend(memory_maps_note());
    }
    let mut settings = Settings {
        sweeps: sampler.sweeps,
        supported_files: file_names(supported),
        max_descriptors: sampler.descriptors.allowed,
        ..options.settings()
    };
    if settings.cgroup_interval_ms.is_some() {
        let note = machine.cgroups_note();
        settings.cgroup_interval_ms = settings.cgroup_interval_ms.filter(|_| note.is_none());
        notes.extend(note);
        notes.extend(machine.own_group_note());
    }
    let started = jiff::Timestamp::from_nanosecond(anchor.utc_ns.into()).unwrap_or_default();
    let provenance = Provenance {
        format: FORMAT_VERSION,
        id: new_recording_id(started),
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        memsample: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        clock: anchor,
        settings,
        labels: options.labels.clone(),
        machine: Machine::current(options.sampler.host_constants()),
        cut: None,
        anonymized: false,
    };
    Manifest {
        provenance,
        state: RecordingState::Recording,
        end: None,
        last_tick: None,
        totals: Totals::default(),
        files: BTreeMap::new(),
        recorder: None,
        command_exit_code: None,
        notes,
    }
}
