//! The programs as bytes, and loading them.
//!
//! `bpftool gen skeleton -L` makes of the object a program that loads it: it creates the maps, lets the kernel find the
//! members of its structures by their names, and loads the programs. Here is what runs that program.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::refused::Refused;
use crate::system_call::{Argument, create_array, load_program, own_opened, run, set_element};

/// What `program/build` writes of one object.
pub(crate) struct Object {
    data: &'static [u8],
    instructions: &'static [u8],
}

/// From `program/walk.bpf.c`, with the programs `note_cpu` and `walk`.
pub(crate) const LIST: Object = Object {
    data: include_bytes!("../program/walk.data"),
    instructions: include_bytes!("../program/walk.insns"),
};
/// From `program/each_task.bpf.c`, with the programs `note_cpu`, `begin_anew` and `each_task`.
pub(crate) const EACH_TASK: Object = Object {
    data: include_bytes!("../program/each_task.data"),
    instructions: include_bytes!("../program/each_task.insns"),
};
/// Enough for the end of what the verifier says of a program that it refuses.
const LOG_BYTES: usize = 1 << 20;

/// What was loaded: closing these unloads it.
pub(crate) struct Loaded<const PROGRAMS: usize> {
    pub(crate) rows: OwnedFd,
    /// In the order of their names.
    pub(crate) programs: [OwnedFd; PROGRAMS],
    // The programs hold them too; kept so that all is closed together.
    _probe: OwnedFd,
    _kept: OwnedFd,
}

/// The argument of the loader: `struct bpf_loader_ctx`, and then what `program/build` checks the order of.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoaderArgument<const PROGRAMS: usize> {
    size: u32,
    flags: u32,
    log_level: u32,
    log_size: u32,
    log: u64,
    probe: MapArgument,
    rows: MapArgument,
    kept: MapArgument,
    programs: [i32; PROGRAMS],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MapArgument {
    fd: i32,
    /// 0: as many as the object says.
    max_entries: u32,
    initial_value: u64,
}

impl<const PROGRAMS: usize> Argument for LoaderArgument<PROGRAMS> {}

impl<const PROGRAMS: usize> LoaderArgument<PROGRAMS> {
    fn new(capacity: u32) -> Self {
        let as_the_object_says = MapArgument { fd: -1, max_entries: 0, initial_value: 0 };
        Self {
            // Without what aligns the end.
            size: (offset_of!(Self, programs) + size_of::<[i32; PROGRAMS]>()) as u32,
            flags: 0,
            log_level: 0,
            log_size: 0,
            log: 0,
            probe: as_the_object_says,
            rows: MapArgument { max_entries: capacity, ..as_the_object_says },
            kept: as_the_object_says,
            programs: [-1; PROGRAMS],
        }
    }
}

impl<const PROGRAMS: usize> Loaded<PROGRAMS> {
    /// Loads the programs of an object, with room for `capacity` rows.
    pub(crate) fn load(object: &Object, capacity: u32) -> Result<Self, Refused> {
        if let Ok(loaded) = Self::try_load(object, capacity, &mut [])? {
            return Ok(loaded);
        }
        // Again, and this time the verifier says why not.
        let mut log = vec![0; LOG_BYTES];
        Self::try_load(object, capacity, &mut log)?.map_err(|errno| why_not(errno, &log))
    }

    /// Runs the loader, and returns what it says. The log is written where there is room for one.
    fn try_load(
        object: &Object,
        capacity: u32,
        log: &mut [u8],
    ) -> Result<Result<Self, Errno>, Refused> {
        let failed = |what| move |error: io::Error| Refused::from_call(what, &error);
        let data = object.data;
        let array =
            create_array(data.len() as u32).map_err(failed("creating the BPF loader's data"))?;
        set_element(array.as_fd(), data).map_err(failed("writing the BPF loader's data"))?;
        let loader = load_program(object.instructions, array.as_fd())
            .map_err(failed("loading the BPF loader"))?;
        let mut argument = LoaderArgument::<PROGRAMS>::new(capacity);
        if !log.is_empty() {
            argument.log_level = 1;
            argument.log_size = log.len() as u32;
            argument.log = log.as_mut_ptr().addr() as u64;
        }
        let answer =
            run(loader.as_fd(), &mut argument).map_err(failed("running the BPF loader"))?;
        if answer < 0 {
            return Ok(Err(Errno::from_raw_os_error(-answer)));
        }
        let maps = [argument.probe.fd, argument.rows.fd, argument.kept.fd].map(own_opened);
        let programs = argument.programs.map(own_opened);
        let [Some(probe), Some(rows), Some(kept)] = maps else { return Ok(Err(Errno::BADF)) };
        if programs.iter().any(Option::is_none) {
            return Ok(Err(Errno::BADF));
        }
        let programs: Vec<OwnedFd> = programs.into_iter().flatten().collect();
        let Ok(programs) = programs.try_into() else { return Ok(Err(Errno::BADF)) };
        Ok(Ok(Self { rows, programs, _probe: probe, _kept: kept }))
    }
}

/// Returns why the loader could not load the programs.
fn why_not(errno: Errno, log: &[u8]) -> Refused {
    let refused = Refused::from_call("loading the BPF program", &io::Error::from(errno));
    let Refused::Failed { answer, .. } = refused else { return refused };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let verifier = last_words(log).unwrap_or(answer);
    Refused::Unsuitable { verifier, release }
}

/// Returns the last line of the verifier's log that says something of the program, without its statistics.
fn last_words(log: &[u8]) -> Option<String> {
    let text = log.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text);
    let said = text.lines().rfind(|line| !line.is_empty() && !line.starts_with("processed "))?;
    Some(said.to_owned())
}
