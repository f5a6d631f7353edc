//! Bytes of the kernel to values: nanoseconds for each file, beside the procfs crate.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fs;
use std::hint::black_box;
use std::io::Cursor;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memsample::parse;
use procfs::{FromBufRead, FromRead};

/// Reads a file of a process that was captured with the whole machine.
fn captured(file: &str) -> Vec<u8> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../memsample/tests/trees/idle");
    fs::read(tree.join(file)).unwrap()
}

/// Adds a parser of ours and, where there is one, its like in procfs.
macro_rules! parser {
    ($criterion:ident, $file:literal, $ours:expr $(, $theirs:expr)?) => {{
        let bytes = captured($file);
        let mut group = $criterion.benchmark_group($file);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("memsample", |bencher| bencher.iter(|| $ours(black_box(&bytes))));
        $(group.bench_function("procfs", |bencher| {
            bencher.iter(|| $theirs(Cursor::new(black_box(&bytes))));
        });)?
        group.finish();
    }};
}

fn parsers(criterion: &mut Criterion) {
    use procfs::process::{SmapsRollup, Stat, StatM, Status};
    parser!(criterion, "9/statm", |bytes: &[u8]| parse::parse_statm(bytes).unwrap(), |bytes| {
        StatM::from_read(bytes).unwrap()
    });
    parser!(
        criterion,
        "9/stat",
        |bytes: &[u8]| black_box(parse::parse_stat(bytes)).is_ok(),
        |bytes| { Stat::from_read(bytes).unwrap() }
    );
    parser!(
        criterion,
        "9/status",
        |bytes: &[u8]| black_box(parse::parse_status(bytes)).is_ok(),
        |bytes| Status::from_buf_read(bytes).unwrap()
    );
    parser!(
        criterion,
        "9/smaps_rollup",
        |bytes: &[u8]| parse::parse_smaps_rollup(bytes).unwrap(),
        |bytes| SmapsRollup::from_buf_read(bytes).unwrap()
    );
    parser!(criterion, "meminfo", |bytes: &[u8]| parse::parse_meminfo(bytes).unwrap(), |bytes| {
        procfs::Meminfo::from_buf_read(bytes).unwrap()
    });
    parser!(criterion, "vmstat", |bytes: &[u8]| parse::parse_vmstat(bytes).unwrap());
    parser!(criterion, "pressure/memory", |bytes: &[u8]| parse::parse_pressure(bytes).unwrap());
}

criterion_group!(benches, parsers);
criterion_main!(benches);
