//! Captures of smemcap as recordings, and what is refused.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::recorded::{batches, check_consistency, int64, rows, string};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use flate2::Compression;
use flate2::write::GzEncoder;
use memsample::{
    End, ImportError, KeptArguments, Metric, Recording, RecordingState, Redaction, SamplerOptions,
    import,
};
use proptest::prelude::*;
use tar::{EntryType, Header};
use tempfile::{TempDir, tempdir};

const TIME: u64 = 1_700_000_000;
const KIB: i64 = 1024;

/// Appends what smemcap writes of a file.
fn put(tar: &mut Vec<u8>, name: &str, contents: &[u8], uid: u64, time: u64) {
    let mut header = Header::new_gnu();
    // As it is: the crate would refuse what a hostile tar holds.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::Regular);
    header.set_size(contents.len() as u64);
    header.set_uid(uid);
    header.set_mtime(time);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(contents);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn smaps(rss: u64, pss: u64) -> String {
    let mapping = |rss, pss, anonymous, name: &str| {
        format!(
            "1000-2000 rw-p 00000000 00:00 0 {name}\nSize: 100 kB\nRss: {rss} kB\nPss: {pss} kB\nPrivate_Clean: 1 kB\n\
             Private_Dirty: 2 kB\nAnonymous: {anonymous} kB\nSwap: 8 kB\nSwapPss: 4 kB\nVmFlags: rd\n"
        )
    };
    let gate = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\nSize: 4 kB\nRss: 0 kB\nPss: 0 kB\n\
                Private_Clean: 0 kB\nPrivate_Dirty: 0 kB\nAnonymous: 0 kB\nSwap: 0 kB\nSwapPss: 0 kB\n";
    mapping(rss / 2, pss / 2, 3, "/lib/a b.so") + &mapping(rss / 2, pss / 2, 5, "") + gate
}

fn stat(pid: i32, comm: &str, flags: u32, start: u64) -> String {
    format!(
        "{pid} ({comm}) S 1 {pid} {pid} 0 -1 {flags} 11 0 12 0 13 14 0 0 20 0 1 0 {start} 1000 100 \
         18446744073709551615 1 2 3 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
}

/// A capture of a machine with the processes `(pid, start, rss, pss)`, without an end mark.
fn capture(time: u64, processes: &[(i32, u64, u64, u64)]) -> Vec<u8> {
    let mut tar = Vec::new();
    put(
        &mut tar,
        "meminfo",
        b"MemTotal: 9000 kB\nMemFree: 1 kB\nAnonPages: 300 kB\nMapped: 100 kB\n",
        0,
        time,
    );
    put(&mut tar, "version", b"Linux version 6.1.0-13-amd64 (x@y)\n", 0, time);
    for &(pid, start, rss, pss) in processes {
        put(&mut tar, &format!("{pid}/smaps"), smaps(rss, pss).as_bytes(), 1000, time);
        put(&mut tar, &format!("{pid}/cmdline"), b"/bin/serve\0--token\0s3cret\0", 1000, time);
        put(&mut tar, &format!("{pid}/stat"), stat(pid, "serve", 0, start).as_bytes(), 1000, time);
    }
    // A thread of the kernel has no memory.
    put(&mut tar, "2/smaps", b"", 0, time);
    put(&mut tar, "2/cmdline", b"", 0, time);
    put(&mut tar, "2/stat", stat(2, "kthreadd", 0x0020_0000, 0).as_bytes(), 0, time);
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Imports captures, each given by its bytes.
fn import_bytes(
    captures: &[&[u8]],
    options: &SamplerOptions,
) -> (TempDir, Result<Recording, ImportError>) {
    let directory = tempdir().unwrap();
    let write = |(index, bytes): (usize, &&[u8])| {
        let path = directory.path().join(format!("{index}.tar"));
        fs::write(&path, bytes).unwrap();
        path
    };
    let paths: Vec<PathBuf> = captures.iter().enumerate().map(write).collect();
    let recording = import(&paths, &directory.path().join("run"), options);
    (directory, recording)
}

#[test]
fn captures_become_ticks_at_their_times() {
    let first = capture(TIME, &[(7, 50, 200, 100), (8, 60, 80, 40)]);
    // Later 8 has ended, and its pid is another's.
    let second = capture(TIME + 5, &[(7, 50, 400, 300), (8, 99, 20, 10)]);
    let (_directory, recording) =
        import_bytes(&[&gzip(&second), &first], &SamplerOptions::default());
    let recording = recording.unwrap();
    check_consistency(&recording);
    let rows = rows(&recording);
    let ms = |seconds: u64| i64::try_from((TIME + seconds) * 1000).unwrap();
    let keys: Vec<_> = rows.keys().copied().collect();
    assert_eq!(keys, [(ms(0), 7), (ms(0), 8), (ms(5), 7), (ms(5), 8)]);
    let (comm, metrics) = &rows[&(ms(5), 7)];
    assert_eq!(comm, "serve");
    let expected = |metric| match metric {
        Metric::Rss => Some(400 * KIB),
        Metric::Pss => Some(300 * KIB),
        Metric::Uss => Some(6 * KIB),
        Metric::Anon => Some(8 * KIB),
        Metric::Shared => Some(392 * KIB),
        Metric::Vsize => Some(200 * KIB),
        Metric::Swap => Some(16 * KIB),
        Metric::SwapPss => Some(8 * KIB),
        Metric::Minflt => Some(11),
        Metric::Majflt => Some(12),
        Metric::Utime => Some(130_000_000),
        Metric::Stime => Some(140_000_000),
        // smemcap does not capture them.
        Metric::Data
        | Metric::Text
        | Metric::File
        | Metric::Shmem
        | Metric::Hwm
        | Metric::Hugetlb => None,
    };
    assert_eq!(*metrics, Metric::ALL.map(expected));
    let manifest = recording.manifest();
    assert_eq!(
        (manifest.state, manifest.end.as_ref()),
        (RecordingState::Closed, Some(&End::Imported))
    );
    assert_eq!(
        (manifest.totals.ticks, manifest.totals.gone, manifest.totals.unreadable),
        (2, 1, 0)
    );
    assert_eq!(manifest.provenance.machine.kernel, "6.1.0-13-amd64");
    assert!(manifest.notes.iter().any(|note| note.contains("2 of 2 captures have no end mark")));
    // `smaps` does not say it, nor do 200 KiB on the 100 pages of `stat`.
    assert_eq!(manifest.provenance.machine.page_bytes, None);
    let [batch] = &batches(&recording, "processes")[..] else { panic!("one batch") };
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(int64(batch, "uid", 0), Some(1000));
    assert_eq!(int64(batch, "start_ns", 0), Some(500_000_000));
    assert_eq!(int64(batch, "hwm_max_bytes", 0), None);
    assert_eq!(string(batch, "cmdline", 0), "/bin/serve --token s3cret");
    let (known, meminfo) = recording.last_known_pss().unwrap().unwrap();
    assert_eq!((known.known_bytes, known.known_processes), (310 * 1024, 2));
    assert_eq!(known.explains(&meminfo), Some(310.0 / 400.0));
}

#[test]
fn each_of_many_captures_has_what_was_in_it() {
    // 8 is missing in the last, and 9 begins in the third.
    let first = capture(TIME, &[(7, 50, 100, 50), (8, 60, 80, 40)]);
    let second = capture(TIME + 5, &[(7, 50, 200, 100), (8, 60, 90, 45)]);
    let third = capture(TIME + 10, &[(7, 50, 500, 250), (8, 60, 70, 35), (9, 70, 10, 5)]);
    let fourth = capture(TIME + 15, &[(7, 50, 300, 150), (9, 70, 20, 10)]);
    let captures: [&[u8]; 4] = [&first, &second, &third, &fourth];
    let (_directory, recording) = import_bytes(&captures, &SamplerOptions::default());
    let recording = recording.unwrap();
    check_consistency(&recording);
    let mut samples = Vec::new();
    for batch in recording.read_table("samples", &["ts", "pid", "rss_bytes"]) {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<arrow_array::types::TimestampMillisecondType>();
        let pids = batch["pid"].as_primitive::<arrow_array::types::Int32Type>();
        let rss = batch["rss_bytes"].as_primitive::<Int64Type>();
        let rows = ts.values().iter().zip(pids.values()).zip(rss.values());
        samples.extend(rows.map(|((ts, pid), rss)| (*pid, ts / 1000 - TIME as i64, rss / KIB)));
    }
    samples.retain(|&(pid, ..)| pid > 2);
    samples.sort_unstable();
    let of_7 = [(7, 0, 100), (7, 5, 200), (7, 10, 500), (7, 15, 300)];
    let of_others = [(8, 0, 80), (8, 5, 90), (8, 10, 70), (9, 10, 10), (9, 15, 20)];
    assert_eq!(samples, [&of_7[..], &of_others].concat());
    let mut peaks = Vec::new();
    for batch in recording.read_table("processes", &["pid", "rss_max_bytes"]) {
        let batch = batch.unwrap();
        let pids = batch["pid"].as_primitive::<arrow_array::types::Int32Type>();
        let rss = batch["rss_max_bytes"].as_primitive::<Int64Type>();
        peaks.extend(pids.values().iter().copied().zip(rss.iter().flatten().map(|rss| rss / KIB)));
    }
    peaks.retain(|&(pid, _)| pid > 2);
    peaks.sort_unstable();
    assert_eq!(peaks, [(7, 500), (8, 90), (9, 20)]);
}

#[test]
fn what_must_not_be_recorded_is_taken_out() {
    let options = SamplerOptions::default().redact(Redaction::new("s[0-9]cret").unwrap());
    let bytes = capture(TIME, &[(7, 50, 200, 100)]);
    let (_directory, recording) = import_bytes(&[&bytes], &options);
    let batch = &batches(&recording.unwrap(), "processes")[0];
    assert_eq!(string(batch, "cmdline", 0), "/bin/serve --token [redacted]");
    let (_directory, recording) = import_bytes(&[&bytes], &options.arguments(KeptArguments::None));
    let batch = &batches(&recording.unwrap(), "processes")[0];
    assert!(batch.column_by_name("cmdline").unwrap().is_null(0));
}

#[test]
fn a_tar_of_proc_itself_is_a_capture_too() {
    let mut tar = Vec::new();
    for prefix in ["./", "/proc/", "proc/"] {
        let pid = prefix.len() as i32;
        put(&mut tar, &format!("{prefix}{pid}/smaps"), smaps(40, 20).as_bytes(), 0, TIME);
        put(&mut tar, &format!("{prefix}{pid}/stat"), stat(pid, "x", 0, 1).as_bytes(), 0, TIME);
        put(&mut tar, &format!("{prefix}{pid}/environ"), b"SECRET=1\0", 0, TIME + 99);
        put(&mut tar, &format!("{prefix}{pid}/task/{pid}/stat"), b"garbage", 0, TIME + 99);
    }
    tar.resize(tar.len() + 1024, 0);
    let (_directory, recording) = import_bytes(&[&tar], &SamplerOptions::default());
    let recording = recording.unwrap();
    assert_eq!(recording.manifest().totals.samples, 3);
    assert!(rows(&recording).keys().all(|(ts, _)| *ts == i64::try_from(TIME).unwrap() * 1000));
    assert!(!recording.manifest().notes.iter().any(|note| note.contains("no end mark")));
    // Without meminfo the machine is not known.
    let batch = &batches(&recording, "system")[0];
    assert!(
        batch.column_by_name("mem_total_bytes").unwrap().as_primitive::<Int64Type>().is_null(0)
    );
}

#[test]
fn a_process_that_is_not_whole_is_counted() {
    let mut tar = capture(TIME, &[(7, 50, 200, 100)]);
    put(&mut tar, "8/stat", stat(8, "no smaps", 0, 1).as_bytes(), 0, TIME);
    put(&mut tar, "9/smaps", smaps(2, 2).as_bytes(), 0, TIME);
    put(&mut tar, "10/stat", stat(10, "empty", 0, 1).as_bytes(), 0, TIME);
    put(&mut tar, "10/smaps", b"", 0, TIME);
    put(&mut tar, "11/stat", b"garbage", 0, TIME);
    put(&mut tar, "11/smaps", smaps(2, 2).as_bytes(), 0, TIME);
    put(&mut tar, "12/stat", stat(12, "old kernel", 0, 1).as_bytes(), 0, TIME);
    put(&mut tar, "12/smaps", b"1-2 r--p 0 0:0 0\nSize: 4 kB\nRss: 4 kB\nPss: 4 kB\n", 0, TIME);
    let (_directory, recording) = import_bytes(&[&tar], &SamplerOptions::default());
    let recording = recording.unwrap();
    let totals = recording.manifest().totals;
    assert_eq!((totals.samples, totals.unreadable), (1, 5));
    // A share of which something is missing would be too good.
    assert!(recording.last_known_pss().unwrap().is_none());
}

/// What `smaps` says of a mapping, in the order of the kernel, by the release that began to.
const LINES: [(&str, (u32, u32, u32)); 8] = [
    ("Size: 100", (2, 6, 14)),
    ("Rss: 64", (2, 6, 14)),
    ("Pss: 32", (2, 6, 25)),
    ("Private_Clean: 1", (2, 6, 14)),
    ("Private_Dirty: 2", (2, 6, 14)),
    ("Anonymous: 16", (2, 6, 34)),
    ("Swap: 8", (2, 6, 34)),
    ("SwapPss: 4", (4, 3, 0)),
];

/// A capture of a process under a kernel, with the page size that it says, if it does.
fn capture_of_kernel(
    kernel: (u32, u32, u32),
    page_kib: Option<u64>,
    resident_pages: u64,
) -> Vec<u8> {
    let mut mapping = "1000-2000 rw-p 00000000 00:00 0\n".to_owned();
    for (line, _) in LINES.iter().filter(|(_, since)| *since <= kernel) {
        mapping += &format!("{line} kB\n");
    }
    if let Some(page_kib) = page_kib {
        mapping += &format!("KernelPageSize: {page_kib} kB\n");
    }
    let huge = mapping.replace("KernelPageSize: ", "KernelPageSize: 20");
    let stat = stat(7, "old", 0, 50).replace(" 1000 100 ", &format!(" 1000 {resident_pages} "));
    let mut tar = Vec::new();
    put(&mut tar, "7/smaps", (huge + &mapping).as_bytes(), 0, TIME);
    put(&mut tar, "7/stat", stat.as_bytes(), 0, TIME);
    // A kernel thread of a kernel that does not say that it is one, and a process that has ended.
    for (pid, comm) in [(2, "ksoftirqd/0"), (9, "defunct")] {
        let stat = self::stat(pid, comm, 0, 1).replace(" 1000 100 ", " 0 0 ");
        put(&mut tar, &format!("{pid}/smaps"), b"", 0, TIME);
        put(&mut tar, &format!("{pid}/stat"), stat.as_bytes(), 0, TIME);
    }
    tar
}

#[test]
fn what_an_old_kernel_does_not_say_is_null_and_noted() {
    for (kernel, lacking, note) in [
        (
            (2, 6, 14),
            &[Metric::Pss, Metric::Anon, Metric::Shared, Metric::Swap, Metric::SwapPss][..],
            "Pss, Anonymous, Swap, SwapPss",
        ),
        (
            (2, 6, 32),
            &[Metric::Anon, Metric::Shared, Metric::Swap, Metric::SwapPss],
            "Anonymous, Swap, SwapPss",
        ),
        ((3, 10, 0), &[Metric::SwapPss], "SwapPss"),
        ((6, 1, 0), &[], ""),
    ] {
        let bytes = capture_of_kernel(kernel, None, 32);
        let (_directory, recording) = import_bytes(&[&bytes], &SamplerOptions::default());
        let recording = recording.unwrap_or_else(|error| panic!("{kernel:?}: {error}"));
        check_consistency(&recording);
        let rows = rows(&recording);
        let [(_, metrics)] = &rows.values().collect::<Vec<_>>()[..] else { panic!("{rows:?}") };
        for metric in Metric::ALL {
            let captured = !matches!(
                metric,
                Metric::Data
                    | Metric::Text
                    | Metric::File
                    | Metric::Shmem
                    | Metric::Hwm
                    | Metric::Hugetlb
            );
            let known = metrics[metric as usize].is_some();
            assert_eq!(known, captured && !lacking.contains(&metric), "{kernel:?}: {metric:?}");
        }
        assert_eq!(metrics[Metric::Rss as usize], Some(128 * KIB));
        let notes = recording.manifest().notes.join("\n");
        let said =
            format!("the kernel of 1 of 1 captures is too old for the lines {note} of `smaps`");
        assert_eq!(notes.contains(&said), !note.is_empty(), "{notes}");
        // What has no memory was not missed.
        assert_eq!(recording.manifest().totals.unreadable, 0);
    }
}

#[test]
fn the_size_of_a_page_is_that_of_the_captured_machine() {
    for (said, resident_pages, expected) in [
        (Some(4), 32, Some(4096)),
        (Some(16), 8, Some(16_384)),
        (Some(64), 2, Some(65_536)),
        // 128 KiB are so many pages, or nearly.
        (None, 32, Some(4096)),
        (None, 8, Some(16_384)),
        (None, 2, Some(65_536)),
        (None, 3000, None),
        (None, 0, None),
    ] {
        let bytes = capture_of_kernel((2, 6, 32), said, resident_pages);
        let (_directory, recording) = import_bytes(&[&bytes], &SamplerOptions::default());
        let recording = recording.unwrap();
        assert_eq!(recording.manifest().provenance.machine.page_bytes, expected);
        let unknown = "`cpus` and `page_bytes` of the captured machine are not known";
        let notes = recording.manifest().notes.join("\n");
        assert_eq!(notes.contains(unknown), expected.is_none(), "{notes}");
    }
}

#[test]
fn captures_of_the_same_second_keep_their_order() {
    let captures: Vec<Vec<u8>> =
        [300, 100, 200].map(|rss| capture(TIME, &[(7, 50, rss, 50)])).into();
    let before = capture(TIME - 1, &[(7, 50, 80, 40)]);
    let after = capture(TIME + 1, &[(7, 50, 90, 40)]);
    let given: [&[u8]; 5] = [&after, &captures[0], &captures[1], &before, &captures[2]];
    let (directory, recording) = import_bytes(&given, &SamplerOptions::default());
    let recording = recording.unwrap();
    check_consistency(&recording);
    let order: Vec<_> = rows(&recording)
        .into_iter()
        .filter(|((_, pid), _)| *pid == 7)
        .map(|((ts, _), (_, metrics))| {
            (ts - TIME as i64 * 1000, metrics[Metric::Rss as usize].unwrap() / KIB)
        })
        .collect();
    assert_eq!(order, [(-1000, 80), (0, 300), (1, 100), (2, 200), (1000, 90)]);
    let notes = recording.manifest().notes.join("\n");
    assert!(notes.contains("2 of 5 captures are of the same second as the one before"), "{notes}");
    assert_eq!(recording.manifest().provenance.settings.interval_ms, 1000);
    let path = directory.path().join("0.tar");
    let twice = [path.clone(), directory.path().join("1.tar"), path];
    let error = import(&twice, &directory.path().join("other"), &SamplerOptions::default());
    assert!(matches!(error, Err(ImportError::Twice(_))));
}

#[test]
fn the_reason_why_nothing_is_known_is_the_true_one() {
    let mut tar = Vec::new();
    put(&mut tar, "7/smaps", b"1-2 r--p 0 0:0 0\nSize: 4 kB\nRss: x kB\n", 0, TIME);
    put(&mut tar, "7/stat", stat(7, "x", 0, 1).as_bytes(), 0, TIME);
    refused(&[&tar], "its `7/smaps` is damaged: field `Rss` is not a number");
    let mut tar = Vec::new();
    for pid in [7, 8] {
        put(&mut tar, &format!("{pid}/smaps"), b"", 0, TIME);
        put(&mut tar, &format!("{pid}/stat"), stat(pid, "x", 0, 1).as_bytes(), 0, TIME);
    }
    refused(&[&tar], "the `smaps` of all its processes (2) are missing or empty: capture as root");
}

/// Checks that captures are refused, and that nothing is left behind.
#[track_caller]
fn refused(captures: &[&[u8]], message: &str) {
    let (directory, recording) = import_bytes(captures, &SamplerOptions::default());
    let error = recording.unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
    assert_eq!(error.lines().count(), 1);
    assert!(error.chars().all(|char| !char.is_control()), "{error:?}");
    assert!(!directory.path().join("run").exists());
}

#[test]
fn what_is_no_capture_is_refused() {
    let whole = capture(TIME, &[(7, 50, 200, 100)]);
    refused(&[b""], "it holds no process");
    refused(&[&[0; 4096]], "it holds no process");
    refused(&[b"#!/bin/sh\necho hello\n"], "it is no tar");
    refused(&[&b"\x1b[31m not a tar \n".repeat(100)], "it is no tar");
    refused(&[&whole[..whole.len() - 600]], "it is cut off");
    refused(&[&whole[..1100]], "it is cut off");
    refused(&[&gzip(&whole)[..200]], "it is cut off");
    let mut damaged = gzip(&whole);
    damaged[30] ^= 0xff;
    refused(&[&damaged], "is not a capture of smemcap");
    let mut damaged = whole.clone();
    damaged[1024..1030].copy_from_slice(b"\x1b[31m!");
    refused(&[&damaged], "its entry 2 is damaged");
    let mut tar = Vec::new();
    put(&mut tar, "meminfo", b"garbage", 0, TIME);
    refused(&[&tar], "its `meminfo` is damaged: field `MemTotal` is missing");
    refused(&[], "0 captures cannot be one recording");
}

#[test]
fn a_hostile_capture_is_refused() {
    for name in ["../../etc/passwd", "7/../../8/smaps", "/proc/../7/stat"] {
        let mut tar = capture(TIME, &[(7, 50, 200, 100)]);
        put(&mut tar, name, b"x", 0, TIME);
        refused(&[&tar], "leads outside");
    }
    // A size that is not there.
    let mut tar = Vec::new();
    put(&mut tar, "7/smaps", b"abc", 0, TIME);
    for (size, message) in
        [(200 << 20, "it is cut off"), (1 << 40, "more than 256 MiB in one file")]
    {
        let mut header = Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&tar[..512]);
        header.set_size(size);
        header.set_cksum();
        refused(&[&[header.as_bytes(), &tar[512..]].concat()], message);
    }
    // A time after the end of time.
    refused(&[&capture(8_589_934_591 * 2, &[(7, 50, 200, 100)])], "a time after the year 2262");
    // More entries than a machine has processes, of 16 KiB as a file.
    let mut entry = Vec::new();
    put(&mut entry, "1/x", b"", 0, TIME);
    refused(&[&gzip(&entry.repeat((1 << 18) + 1))], "more than 262144 entries");
}

#[test]
fn links_and_other_kinds_of_entries_are_left_out() {
    let mut tar = capture(TIME, &[(7, 50, 200, 100)]);
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::GNUSparse, EntryType::Char] {
        let begin = tar.len();
        put(&mut tar, "8/smaps", b"", 0, TIME + 50);
        let mut header = Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&tar[begin..begin + 512]);
        header.set_entry_type(kind);
        header.set_link_name_literal("/etc/passwd").unwrap();
        header.set_cksum();
        tar[begin..begin + 512].copy_from_slice(header.as_bytes());
    }
    let (_directory, recording) = import_bytes(&[&tar], &SamplerOptions::default());
    assert_eq!(recording.unwrap().manifest().totals.samples, 1);
}

#[test]
fn a_recording_that_exists_is_left_as_it_is() {
    let directory = tempdir().unwrap();
    let tar = directory.path().join("c.tar");
    fs::write(&tar, capture(TIME, &[(7, 50, 200, 100)])).unwrap();
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("file"), "mine").unwrap();
    let error = import(std::slice::from_ref(&tar), &run, &SamplerOptions::default()).unwrap_err();
    assert!(matches!(error, ImportError::Exists(_)), "{error}");
    assert_eq!(fs::read_to_string(run.join("file")).unwrap(), "mine");
    let error = import(&[tar], Path::new("/proc/run"), &SamplerOptions::default()).unwrap_err();
    assert!(matches!(error, ImportError::Write(..)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_broken_capture_is_read_or_refused_and_leaves_nothing_behind(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        compressed: bool,
    ) {
        let whole = capture(TIME, &[(7, 50, 200, 100), (8, 60, 80, 40)]);
        let mut bytes = if compressed { gzip(&whole) } else { whole };
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        bytes.truncate(cut.index(2 * bytes.len()) + 1);
        let (directory, recording) = import_bytes(&[&bytes], &SamplerOptions::default());
        match recording {
            Ok(recording) => check_consistency(&recording),
            Err(_) => prop_assert!(!directory.path().join("run").exists()),
        }
    }
}
