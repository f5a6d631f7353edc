//! The parsers on any bytes, and beside those of the `procfs` crate on the files of this machine.

use std::fs;
use std::panic::catch_unwind;

use memsample::parse::{
    decode_path, parse_cgroup, parse_cgroup_events, parse_cgroup_limit, parse_cgroup_oom_control,
    parse_cgroup_stat, parse_cgroup_stat_v1, parse_io, parse_meminfo, parse_mountinfo,
    parse_pressure, parse_smaps, parse_smaps_rollup, parse_stat, parse_statm, parse_status,
    parse_swaps, parse_vmstat, parse_zram,
};
use memsample::units::Kibibytes;
use procfs::process::{Process, Stat, StatM, Status};
use procfs::{Current, FromRead, Meminfo, MemoryPressure, VmStat};
use proptest::prelude::*;

/// Gives bytes to every parser.
fn parse_as_everything(bytes: &[u8]) {
    let _ = parse_statm(bytes);
    parse_mountinfo(bytes).flatten().for_each(|mount| mount.options().for_each(drop));
    assert!(decode_path(bytes).count() <= bytes.len());
    let _ = parse_stat(bytes);
    let _ = parse_status(bytes);
    let _ = parse_smaps_rollup(bytes);
    parse_smaps(bytes).for_each(drop);
    let _ = parse_meminfo(bytes);
    let _ = parse_pressure(bytes);
    let _ = parse_vmstat(bytes);
    let _ = parse_io(bytes);
    parse_cgroup(bytes).for_each(drop);
    let _ = parse_cgroup_stat(bytes);
    let _ = parse_cgroup_stat_v1(bytes);
    let _ = parse_cgroup_events(bytes);
    let _ = parse_cgroup_oom_control(bytes);
    let _ = parse_cgroup_limit(bytes);
    let _ = parse_swaps(bytes);
    let _ = parse_zram(bytes);
}

/// Files of this process, to be broken.
fn real_files() -> Vec<Vec<u8>> {
    let names = ["statm", "stat", "status", "smaps", "smaps_rollup", "io", "cgroup"]
        .map(|name| format!("/proc/self/{name}"));
    let machine =
        ["meminfo", "vmstat", "pressure/memory", "swaps"].map(|name| format!("/proc/{name}"));
    names.iter().chain(&machine).filter_map(|path| fs::read(path).ok()).collect()
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
        parse_as_everything(&bytes);
    }

    #[test]
    fn no_broken_file_makes_a_parser_panic(
        file: prop::sample::Index,
        cut: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let files = real_files();
        let mut bytes = file.get(&files).clone();
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        parse_as_everything(&bytes);
    }

    #[test]
    fn statm_agrees_with_procfs(numbers: [u64; 7]) {
        let line = numbers.map(|number| number.to_string()).join(" ");
        let ours = parse_statm(line.as_bytes()).unwrap();
        let theirs = StatM::from_read(line.as_bytes()).unwrap();
        prop_assert_eq!(
            [ours.size.0, ours.resident.0, ours.shared.0, ours.text.0, ours.data.0],
            [theirs.size, theirs.resident, theirs.shared, theirs.text, theirs.data]
        );
    }

    #[test]
    fn statistics_of_groups_agree_with_a_map_of_their_words(
        lines in prop::collection::vec(
            ("(total_)?(anon|file|kernel|sock|shmem|rss|cache|swap|mapped_file|file_mapped|slab)", any::<u64>()),
            0..12,
        ),
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        // The last of equal keys holds.
        let naive: std::collections::BTreeMap<_, _> =
            lines.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let of = |key: &str| naive.get(key).copied();
        if let Ok(stat) = parse_cgroup_stat(text.as_bytes()) {
            prop_assert_eq!(
                [stat.anon_bytes, stat.file_bytes, stat.kernel_bytes, stat.sock_bytes, stat.shmem_bytes, stat.file_mapped_bytes],
                [of("anon"), of("file"), of("kernel"), of("sock"), of("shmem"), of("file_mapped")]
            );
        } else {
            prop_assert_eq!(of("anon"), None);
        }
        if let Ok(stat) = parse_cgroup_stat_v1(text.as_bytes()) {
            prop_assert_eq!(
                [stat.anon_bytes, stat.file_bytes, stat.swap_bytes, stat.shmem_bytes, stat.file_mapped_bytes],
                [of("total_rss"), of("total_cache"), of("total_swap"), of("total_shmem"), of("total_mapped_file")]
            );
        } else {
            prop_assert_eq!(of("total_rss"), None);
        }
    }

    #[test]
    fn stat_agrees_with_procfs(
        pid in 1_i32..,
        comm in "[a-z() \n]{0,15}",
        ppid in 0_i32..,
        flags: u32,
        counters: [u32; 8],
        start: u64,
    ) {
        let [minflt, cminflt, majflt, cmajflt, utime, stime, vsize, rss] = counters;
        let line = format!(
            "{pid} ({comm}) S {ppid} {pid} {pid} 0 -1 {flags} {minflt} {cminflt} {majflt} {cmajflt} {utime} {stime} \
             -1 -2 20 -5 3 0 {start} {vsize} {rss} 18446744073709551615 1 2 3 4 5 0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 2 3 4 5 6 7 0"
        );
        compare_stat(line.as_bytes())?;
    }
}

/// Compares where procfs has an opinion: it panics on some malformed lines, such as `1 (a)`.
fn compare_stat(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = catch_unwind(|| Stat::from_read(bytes));
    let Ok(Ok(theirs)) = theirs else {
        return Ok(());
    };
    let ours = parse_stat(bytes).unwrap();
    prop_assert_eq!(ours.pid, theirs.pid);
    prop_assert_eq!(String::from_utf8_lossy(ours.comm), &*theirs.comm);
    prop_assert_eq!(char::from(ours.state), theirs.state);
    prop_assert_eq!(ours.ppid, theirs.ppid);
    prop_assert_eq!(ours.flags, u64::from(theirs.flags));
    prop_assert_eq!((ours.minflt, ours.majflt), (theirs.minflt, theirs.majflt));
    prop_assert_eq!((ours.utime.0, ours.stime.0), (theirs.utime, theirs.stime));
    prop_assert_eq!(ours.num_threads, theirs.num_threads.unsigned_abs());
    prop_assert_eq!(ours.starttime.0, theirs.starttime);
    prop_assert_eq!((ours.vsize_bytes, ours.rss.0), (theirs.vsize, theirs.rss));
    prop_assert_eq!((ours.startcode, ours.startstack), (theirs.startcode, theirs.startstack));
    Ok(())
}

fn kib(value: Option<Kibibytes>) -> Option<u64> {
    value.map(|value| value.0)
}

#[test]
fn every_process_of_this_machine_agrees_with_procfs() {
    let mut compared = 0;
    for process in procfs::process::all_processes().unwrap().flatten() {
        let read = |name: &str| fs::read(format!("/proc/{}/{name}", process.pid)).ok();
        if let Some(bytes) = read("stat") {
            compare_stat(&bytes).unwrap();
            compared += 1;
        }
        if let Some(bytes) = read("statm") {
            let (ours, theirs) = (parse_statm(&bytes).unwrap(), StatM::from_read(&*bytes).unwrap());
            assert_eq!(
                (ours.size.0, ours.resident.0, ours.shared.0),
                (theirs.size, theirs.resident, theirs.shared)
            );
        }
        if let Some(bytes) = read("status") {
            let (ours, theirs) =
                (parse_status(&bytes).unwrap(), Status::from_read(&*bytes).unwrap());
            // procfs cuts names at a colon, which those of kernel workers have.
            assert!(ours.name.starts_with(theirs.name.as_bytes()));
            assert_eq!(ours.tgid, Some(theirs.tgid as u64));
            assert_eq!(ours.ppid, Some(theirs.ppid as u64));
            assert_eq!(ours.euid, Some(u64::from(theirs.euid)));
            assert_eq!(kib(ours.vm_size), theirs.vmsize);
            assert_eq!((kib(ours.vm_hwm), kib(ours.vm_rss)), (theirs.vmhwm, theirs.vmrss));
            assert_eq!(
                (kib(ours.rss_anon), kib(ours.rss_file), kib(ours.rss_shmem)),
                (theirs.rssanon, theirs.rssfile, theirs.rssshmem)
            );
            assert_eq!((kib(ours.vm_swap), ours.threads), (theirs.vmswap, Some(theirs.threads)));
            assert_eq!(kib(ours.hugetlb), theirs.hugetlbpages);
        }
        if let Some(bytes) = read("smaps_rollup").filter(|bytes| !bytes.is_empty()) {
            let ours = parse_smaps_rollup(&bytes).unwrap();
            let theirs = procfs::process::SmapsRollup::from_read(&*bytes).unwrap();
            let theirs = &theirs.memory_map_rollup.0[0].extension.map;
            let of = |name: &str| theirs.get(name).map(|bytes| bytes / 1024);
            assert_eq!((Some(ours.rss.0), Some(ours.pss.0)), (of("Rss"), of("Pss")));
            assert_eq!(
                (Some(ours.private_clean.0), Some(ours.private_dirty.0)),
                (of("Private_Clean"), of("Private_Dirty"))
            );
            assert_eq!(kib(ours.swap_pss), of("SwapPss"));
        }
        if let Some(bytes) = read("cgroup") {
            let ours: Vec<_> = parse_cgroup(&bytes).map(Result::unwrap).collect();
            let theirs = procfs::ProcessCGroups::from_read(&*bytes).unwrap().0;
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert_eq!(
                    (ours.hierarchy, ours.path),
                    (u64::from(theirs.hierarchy), theirs.pathname.as_bytes())
                );
            }
        }
        if let Some(bytes) = read("io") {
            let (ours, theirs) =
                (parse_io(&bytes).unwrap(), procfs::process::Io::from_read(&*bytes).unwrap());
            assert_eq!((ours.rchar_bytes, ours.wchar_bytes), (theirs.rchar, theirs.wchar));
            assert_eq!(
                (ours.read_bytes, ours.write_bytes),
                (theirs.read_bytes, theirs.write_bytes)
            );
            assert_eq!(ours.cancelled_write_bytes, theirs.cancelled_write_bytes);
        }
    }
    assert!(compared > 1);
}

#[test]
fn the_mounts_agree_with_procfs() {
    let bytes = fs::read("/proc/self/mountinfo").unwrap();
    let ours: Vec<_> = parse_mountinfo(&bytes).map(Result::unwrap).collect();
    let theirs = Process::myself().unwrap().mountinfo().unwrap();
    assert_eq!(ours.len(), theirs.0.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.fs_type, theirs.fs_type.as_bytes());
        let point = theirs.mount_point.into_os_string().into_encoded_bytes();
        assert_eq!(decode_path(ours.mount_point).collect::<Vec<_>>(), point);
        assert!(ours.options().all(|(name, _)| {
            theirs.super_options.contains_key(std::str::from_utf8(name).unwrap())
        }));
    }
}

#[test]
fn the_machine_agrees_with_procfs() {
    let bytes = fs::read("/proc/meminfo").unwrap();
    let (ours, theirs) = (parse_meminfo(&bytes).unwrap(), Meminfo::from_read(&*bytes).unwrap());
    let of = |value: Option<Kibibytes>| value.and_then(Kibibytes::bytes);
    assert_eq!(of(ours.mem_total), Some(theirs.mem_total));
    assert_eq!(of(ours.mem_available), theirs.mem_available);
    assert_eq!((of(ours.cached), of(ours.shmem)), (Some(theirs.cached), theirs.shmem));
    assert_eq!((of(ours.anon_pages), of(ours.mapped)), (theirs.anon_pages, Some(theirs.mapped)));
    assert_eq!(
        (of(ours.slab_reclaimable), of(ours.slab_unreclaimable)),
        (theirs.s_reclaimable, theirs.s_unreclaim)
    );
    assert_eq!(
        (of(ours.swap_total), of(ours.swap_free)),
        (Some(theirs.swap_total), Some(theirs.swap_free))
    );
    assert_eq!(
        (of(ours.dirty), of(ours.committed)),
        (Some(theirs.dirty), Some(theirs.committed_as))
    );

    let bytes = fs::read("/proc/vmstat").unwrap();
    let (ours, theirs) = (parse_vmstat(&bytes).unwrap(), VmStat::from_read(&*bytes).unwrap().0);
    let of = |name: &str| theirs.get(name).map(|value| value.unsigned_abs());
    assert_eq!((ours.pgfault, ours.pgmajfault), (of("pgfault"), of("pgmajfault")));
    assert_eq!(
        (ours.oom_kill, ours.pswpin, ours.pswpout),
        (of("oom_kill"), of("pswpin"), of("pswpout"))
    );

    // Where the kernel has PSI; elsewhere there is nothing to compare.
    if let Ok(bytes) = fs::read("/proc/pressure/memory") {
        let (ours, theirs) =
            (parse_pressure(&bytes).unwrap(), MemoryPressure::from_read(&*bytes).unwrap());
        assert_eq!(ours.some.total_us, theirs.some.total);
        assert_eq!(ours.full.unwrap().total_us, theirs.full.total);
    }
    // The reader works on this machine at all.
    assert!(Meminfo::current().is_ok() && Process::myself().is_ok());
}

#[test]
fn mappings_agree_with_procfs() {
    let bytes = fs::read("/proc/self/smaps").unwrap();
    let theirs = procfs::process::MemoryMaps::from_read(&*bytes).unwrap();
    let ours: Vec<_> = parse_smaps(&bytes).collect::<Result<_, _>>().unwrap();
    assert_eq!(ours.len(), theirs.0.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let of = |name: &str| theirs.extension.map.get(name).map(|bytes| bytes / 1024);
        let sizes = [Some(ours.size), Some(ours.rss), ours.pss];
        assert_eq!(sizes.map(kib), ["Size", "Rss", "Pss"].map(of));
        let optional = [ours.anonymous, ours.swap, ours.swap_pss];
        assert_eq!(optional.map(kib), ["Anonymous", "Swap", "SwapPss"].map(of));
        let private = of("Private_Clean").zip(of("Private_Dirty"));
        assert_eq!(kib(ours.uss()), private.map(|(clean, dirty)| clean + dirty));
    }
}
