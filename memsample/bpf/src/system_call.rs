//! The system calls that load and run BPF programs, and map the array that they write: all unsafe code of the crate.
#![allow(
    unsafe_code,
    reason = "bpf(2) and mmap(2) take addresses; each call says what it keeps to"
)]

use std::ffi::{c_int, c_long};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ring::Ring;
use crate::row::Row;

// Commands of bpf(2).
const MAP_CREATE: c_int = 0;
const MAP_UPDATE_ELEM: c_int = 2;
const PROG_LOAD: c_int = 5;
const PROG_TEST_RUN: c_int = 10;
const RAW_TRACEPOINT_OPEN: c_int = 17;
const LINK_CREATE: c_int = 28;
const ITER_CREATE: c_int = 33;

/// How a program is attached to an iterator.
const ATTACH_TRACE_ITER: u32 = 28;

const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SYSCALL: u32 = 31;
const F_SLEEPABLE: u32 = 1 << 4;
const LICENSE: &std::ffi::CStr = c"Dual BSD/GPL";
/// Of one instruction, in bytes.
const INSTRUCTION_BYTES: usize = 8;

/// How often a call is made that a signal interrupts.
const MAX_TRIES: u32 = 10;

/// Memory that a BPF program reads and writes as its argument: plain integers, of which any value is one.
pub(crate) trait Argument: Copy {}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The head of what `BPF_PROG_LOAD` takes; what follows is taken as 0.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    core_relo_cnt: u32,
    fd_array: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    padding: u32,
}

#[repr(C)]
struct RawTracepointOpen {
    /// Of a program that was loaded for a tracepoint: 0.
    name: u64,
    prog_fd: u32,
    padding: u32,
}

#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// Makes an array of one element of so many bytes, for the data of the loader.
pub(crate) fn create_array(value_bytes: u32) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: value_bytes,
        max_entries: 1,
        map_flags: 0,
    };
    // SAFETY: the attributes of MAP_CREATE hold no address.
    let fd = unsafe { bpf(MAP_CREATE, &mut attributes) }?;
    Ok(own(fd))
}

/// Writes the only element of an array that [`create_array`] made for as many bytes.
pub(crate) fn set_element(array: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut attributes = MapUpdate {
        map_fd: number(array.as_raw_fd()),
        padding: 0,
        key: address(ptr::from_ref(&key)),
        value: address(value.as_ptr()),
        flags: 0,
    };
    // SAFETY: the kernel reads four bytes at `key`, and at `value` as many as an element has: those of `value`, as the
    // caller made the array for them. Both live until the call returns.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// Loads a program that [`run`] runs, which knows `array` as its only map.
pub(crate) fn load_program(instructions: &[u8], array: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let descriptors = [array.as_raw_fd()];
    let mut attributes = ProgLoad {
        prog_type: PROG_TYPE_SYSCALL,
        insn_cnt: (instructions.len() / INSTRUCTION_BYTES) as u32,
        insns: address(instructions.as_ptr()),
        license: address(LICENSE.as_ptr()),
        prog_flags: F_SLEEPABLE,
        prog_name: *b"memsample.loader",
        fd_array: address(descriptors.as_ptr()),
        ..ProgLoad::default()
    };
    attributes.prog_name[15] = 0;
    // SAFETY: the kernel reads `insn_cnt` instructions at `insns`, a string that ends with NUL at `license`, and as many
    // descriptors as the program refers to at `fd_array`: one. All live until the call returns.
    let fd = unsafe { bpf(PROG_LOAD, &mut attributes) }?;
    Ok(own(fd))
}

/// Runs a program with an argument that it may change, and returns what it returns.
///
/// The addresses in `argument`, of which only that of the loader has one, must be of memory that lives.
pub(crate) fn run<T: Argument>(program: BorrowedFd<'_>, argument: &mut T) -> io::Result<i32> {
    let mut attributes = ProgRun {
        prog_fd: number(program.as_raw_fd()),
        ctx_size_in: size_of::<T>() as u32,
        ctx_in: address(ptr::from_mut(argument)),
        ..ProgRun::default()
    };
    // SAFETY: the kernel reads and writes `ctx_size_in` bytes at `ctx_in`: those of `argument`, which is borrowed until
    // the call returns, and of which every value is one (`Argument`).
    unsafe { bpf(PROG_TEST_RUN, &mut attributes) }?;
    Ok(attributes.retval as i32)
}

/// Attaches a program to the iterator for which it was loaded. Closing the link detaches it.
pub(crate) fn link_iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        prog_fd: number(program.as_raw_fd()),
        attach_type: ATTACH_TRACE_ITER,
        ..LinkCreate::default()
    };
    // SAFETY: the only address is that of more about the iterator: none, of no length.
    let fd = unsafe { bpf(LINK_CREATE, &mut attributes) }?;
    Ok(own(fd))
}

/// Makes what runs the program of a link once for each task when it is read.
pub(crate) fn create_iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes = IterCreate { link_fd: number(link.as_raw_fd()), flags: 0 };
    // SAFETY: the attributes of ITER_CREATE hold no address.
    let fd = unsafe { bpf(ITER_CREATE, &mut attributes) }?;
    Ok(own(fd))
}

/// Has the kernel call a program at the tracepoint for which it was loaded. Closing the link detaches it.
pub(crate) fn link_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes =
        RawTracepointOpen { name: 0, prog_fd: number(program.as_raw_fd()), padding: 0 };
    // SAFETY: the only address is that of a name: none.
    let fd = unsafe { bpf(RAW_TRACEPOINT_OPEN, &mut attributes) }?;
    Ok(own(fd))
}

/// Takes a descriptor that a BPF program opened in this process, and wrote into its argument.
///
/// Returns `None` where it opened none.
pub(crate) fn own_opened(fd: i32) -> Option<OwnedFd> {
    (fd >= 0).then(|| own(fd))
}

/// The rows, mapped for reading. Nothing but the program that is run writes them.
pub(crate) struct MappedRows {
    first: NonNull<Row>,
    rows: usize,
    _rows: PhantomData<Row>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and nothing in it refers to a thread.
unsafe impl Send for MappedRows {}

impl MappedRows {
    /// Maps the first `rows` elements of an array whose elements are rows.
    pub(crate) fn map(array: BorrowedFd<'_>, rows: usize) -> io::Result<Self> {
        let first = map(array, 0, rows * size_of::<Row>(), libc::PROT_READ)?.cast();
        Ok(Self { first, rows, _rows: PhantomData })
    }

    /// Copies a row out; `None` where there is no room for so many.
    pub(crate) fn get(&self, index: usize) -> Option<Row> {
        if index >= self.rows {
            return None;
        }
        // SAFETY: `index` is within the mapping, which is aligned to a page and lives as long as `self`. Each value of
        // the bytes is a row. The program that writes them has ended; should another program with the rights of root
        // have opened the array, the volatile read makes a row of what is there, and nothing depends on its value.
        Some(unsafe { self.first.as_ptr().add(index).read_volatile() })
    }
}

impl Drop for MappedRows {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this address and length, and nothing refers to it any more.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.rows * size_of::<Row>()) };
    }
}

/// A ring buffer of the kernel, mapped: a page with the position of the reader, one with that of the kernel, and then the
/// records, twice in succession.
pub(crate) struct MappedRing {
    consumer: NonNull<u8>,
    producer: NonNull<u8>,
    page_bytes: usize,
    /// Of the records, once; a power of two.
    room_bytes: usize,
}

// SAFETY: the mappings belong to the process, not to a thread, and nothing in them refers to a thread.
unsafe impl Send for MappedRing {}

impl MappedRing {
    /// Maps a ring buffer that was made with room for so many bytes.
    pub(crate) fn map(ring: BorrowedFd<'_>, room_bytes: usize) -> io::Result<Self> {
        if !room_bytes.is_power_of_two() || room_bytes < size_of::<u64>() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let page_bytes = rustix::param::page_size();
        let consumer = map(ring, 0, page_bytes, libc::PROT_READ | libc::PROT_WRITE)?;
        let length = page_bytes + 2 * room_bytes;
        let producer = map(ring, page_bytes, length, libc::PROT_READ).inspect_err(|_| {
            // SAFETY: the mapping was made above with this length, and nothing refers to it.
            unsafe { libc::munmap(consumer.as_ptr().cast(), page_bytes) };
        })?;
        Ok(Self { consumer, producer, page_bytes, room_bytes })
    }

    /// The place of a position among the records, aligned to a word.
    fn place(&self, position: u64) -> NonNull<u8> {
        let offset = position as usize & (self.room_bytes - 1) & !(size_of::<u64>() - 1);
        // SAFETY: the offset is less than the room for records, which begins a page after the start of the mapping.
        unsafe { self.producer.add(self.page_bytes + offset) }
    }
}

impl Ring for MappedRing {
    fn room_bytes(&self) -> u64 {
        self.room_bytes as u64
    }

    fn consumed(&self) -> u64 {
        // SAFETY: the mapping begins with this number, which is aligned and lives as long as `self`. Others that write it
        // do so at once.
        unsafe { AtomicU64::from_ptr(self.consumer.as_ptr().cast()) }.load(Ordering::Relaxed)
    }

    fn set_consumed(&self, position: u64) {
        // SAFETY: as above; the mapping may be written.
        unsafe { AtomicU64::from_ptr(self.consumer.as_ptr().cast()) }
            .store(position, Ordering::Release);
    }

    fn produced(&self) -> u64 {
        // SAFETY: as above, of the second mapping, which is only read.
        unsafe { AtomicU64::from_ptr(self.producer.as_ptr().cast()) }.load(Ordering::Acquire)
    }

    fn header(&self, position: u64) -> u32 {
        // SAFETY: `place` is within the mapping and aligned to eight bytes; it is only read. The kernel writes the header
        // of a record at once.
        unsafe { AtomicU32::from_ptr(self.place(position).as_ptr().cast()) }.load(Ordering::Acquire)
    }

    fn word(&self, position: u64) -> u64 {
        // SAFETY: `place` is within the mapping and aligned to eight bytes, and each value of them is a number. Should the
        // kernel write there meanwhile, the volatile read makes a number of what is there.
        unsafe { self.place(position).cast::<u64>().as_ptr().read_volatile() }
    }
}

impl Drop for MappedRing {
    fn drop(&mut self) {
        let length = self.page_bytes + 2 * self.room_bytes;
        // SAFETY: the mappings were made by `map` with these addresses and lengths, and nothing refers to them any more.
        unsafe {
            libc::munmap(self.consumer.as_ptr().cast(), self.page_bytes);
            libc::munmap(self.producer.as_ptr().cast(), length);
        }
    }
}

/// Maps a part of a map of the kernel at an address that the kernel chooses.
fn map(
    descriptor: BorrowedFd<'_>,
    offset: usize,
    bytes: usize,
    protection: c_int,
) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address that the kernel chooses changes no memory of this process. The kernel refuses it
    // where the map is smaller.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            protection,
            libc::MAP_SHARED,
            descriptor.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Calls bpf(2) again where it was interrupted.
///
/// # Safety
///
/// Each address in `attributes` that `command` takes must be of memory that may be read and written as it does.
unsafe fn bpf<T>(command: c_int, attributes: &mut T) -> io::Result<RawFd> {
    let mut tries = 0;
    loop {
        // SAFETY: the kernel reads and writes no more than `size_of::<T>()` bytes at `attributes`, which are integers.
        // The caller answers for the addresses in them.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                c_long::from(command),
                ptr::from_mut(attributes),
                size_of::<T>(),
            )
        };
        if answer >= 0 {
            return Ok(answer as RawFd);
        }
        let error = io::Error::last_os_error();
        // The verifier gives up when a signal comes, with EAGAIN.
        tries += 1;
        if tries > MAX_TRIES || !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) {
            return Err(error);
        }
    }
}

/// Compares the memory maps of two processes by kcmp(2): 0 where they have the same one.
pub(crate) fn compare_memory(one: i32, other: i32) -> io::Result<c_long> {
    /// Of `linux/kcmp.h`.
    const KCMP_VM: c_int = 1;
    let (none, kind) = (c_long::from(0), c_long::from(KCMP_VM));
    // SAFETY: the call takes numbers alone, and changes nothing.
    let answer = unsafe {
        libc::syscall(libc::SYS_kcmp, c_long::from(one), c_long::from(other), kind, none, none)
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just opened it for this process, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn number(fd: RawFd) -> u32 {
    fd as u32
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}
