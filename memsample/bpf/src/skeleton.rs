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
    /// The release of the kernel that it needs.
    needs: &'static str,
    /// The place of the map `rows` among its maps.
    rows: usize,
}

/// From `program/walk.bpf.c`, with the programs `note_cpu` and `walk`.
pub(crate) const LIST: Object = Object {
    data: include_bytes!("../program/walk.data"),
    instructions: include_bytes!("../program/walk.insns"),
    needs: "Linux 6.4",
    rows: 2,
};
/// From `program/each_task.bpf.c`, with the programs `note_cpu`, `begin_anew` and `each_task`.
pub(crate) const EACH_TASK: Object = Object {
    data: include_bytes!("../program/each_task.data"),
    instructions: include_bytes!("../program/each_task.insns"),
    needs: "Linux 5.17",
    rows: 2,
};
/// From `program/ended.bpf.c`, with the programs `note_cpu` and `note_end`.
pub(crate) const ENDED: Object = Object {
    data: include_bytes!("../program/ended.data"),
    instructions: include_bytes!("../program/ended.insns"),
    needs: "Linux 6.16",
    rows: 1,
};
/// Maps of each object.
const MAPS: usize = 3;
/// Enough for the end of what the verifier says of a program that it refuses.
const LOG_BYTES: usize = 1 << 20;

/// What was loaded: closing these unloads it.
pub(crate) struct Loaded<const PROGRAMS: usize> {
    pub(crate) rows: OwnedFd,
    /// In the order of their names.
    pub(crate) programs: [OwnedFd; PROGRAMS],
    // The programs hold them too; kept so that all is closed together.
    _others: [OwnedFd; MAPS - 1],
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
    maps: [MapArgument; MAPS],
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
    fn new(object: &Object, capacity: u32) -> Self {
        let as_the_object_says = MapArgument { fd: -1, max_entries: 0, initial_value: 0 };
        let mut maps = [as_the_object_says; MAPS];
        if let Some(rows) = maps.get_mut(object.rows) {
            rows.max_entries = capacity;
        }
        Self {
            // Without what aligns the end.
            size: (offset_of!(Self, programs) + size_of::<[i32; PROGRAMS]>()) as u32,
            flags: 0,
            log_level: 0,
            log_size: 0,
            log: 0,
            maps,
            programs: [-1; PROGRAMS],
        }
    }
}

impl<const PROGRAMS: usize> Loaded<PROGRAMS> {
    /// Loads the programs of an object, with room for `capacity` rows, or bytes where they are in a ring.
    pub(crate) fn load(object: &Object, capacity: u32) -> Result<Self, Refused> {
        if let Ok(loaded) = Self::try_load(object, capacity, &mut [])? {
            return Ok(loaded);
        }
        // Again, and this time the verifier says why not.
        let mut log = vec![0; LOG_BYTES];
        Self::try_load(object, capacity, &mut log)?.map_err(|errno| why_not(object, errno, &log))
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
        let loader = load_program(object.instructions, array.as_fd()).map_err(|error| {
            match Refused::from_call("loading the BPF loader", &error) {
                // Before Linux 5.14 the kernel does not know all that the call says, and answers with E2BIG.
                Refused::NoMemory if Errno::from_io_error(&error) == Some(Errno::TOOBIG) => {
                    unsuitable(object, error.to_string())
                }
                refused => refused,
            }
        })?;
        let mut argument = LoaderArgument::<PROGRAMS>::new(object, capacity);
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
        let maps = argument.maps.map(|map| own_opened(map.fd));
        let programs = argument.programs.map(own_opened);
        let mut maps: Vec<OwnedFd> = maps.into_iter().flatten().collect();
        let programs: Vec<OwnedFd> = programs.into_iter().flatten().collect();
        let Ok(programs) = programs.try_into() else { return Ok(Err(Errno::BADF)) };
        if maps.len() != MAPS {
            return Ok(Err(Errno::BADF));
        }
        let rows = maps.remove(object.rows);
        let Ok(others) = maps.try_into() else { return Ok(Err(Errno::BADF)) };
        Ok(Ok(Self { rows, programs, _others: others }))
    }
}

/// Returns why the loader could not load the programs.
fn why_not(object: &Object, errno: Errno, log: &[u8]) -> Refused {
    let refused = Refused::from_call("loading the BPF program", &io::Error::from(errno));
    match (refused, last_words(log)) {
        (Refused::Failed { answer, .. }, said) => unsuitable(object, said.unwrap_or(answer)),
        // The verifier's answer to a program that it cannot follow to its end.
        (Refused::NoMemory, Some(said)) if errno == Errno::TOOBIG => unsuitable(object, said),
        (refused, _) => refused,
    }
}

fn unsuitable(object: &Object, verifier: String) -> Refused {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Refused::Unsuitable { verifier, release, needs: object.needs }
}

/// Returns the last line of the verifier's log that says something of the program, without its statistics.
fn last_words(log: &[u8]) -> Option<String> {
    let text = log.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text);
    let said = text.lines().rfind(|line| !line.is_empty() && !line.starts_with("processed "))?;
    Some(said.to_owned())
}
