//! Perfetto's own format, for ui.perfetto.dev and trace_processor. Times are those of the boot clock, in nanoseconds.

use std::io::{self, Write};

use memsample::analysis::{MemorySums, tick_instants};
use memsample::{ClockAnchor, Recording};
use prost::{Message, Oneof};

use crate::chrome::name;
use crate::series::Groups;
use crate::trace::{marks, test_spans};

/// Who writes the packets; any number but 0.
const SEQUENCE: u32 = 1;
/// `TracePacket.SEQ_INCREMENTAL_STATE_CLEARED`, in the first packet.
const CLEARED: u32 = 1;
const SLICE_BEGIN: i32 = 1;
const SLICE_END: i32 = 2;
const INSTANT: i32 = 3;
const COUNTER: i32 = 4;
const UNIT_COUNT: i32 = 2;
const UNIT_SIZE_BYTES: i32 = 3;
/// `BUILTIN_CLOCK_REALTIME` and `BUILTIN_CLOCK_BOOTTIME`.
const REALTIME: u32 = 1;
const BOOTTIME: u32 = 6;
/// The name of a track of a group, its value and its unit.
type Quantity = (&'static str, fn(&MemorySums) -> u64, i32);
const QUANTITIES: [Quantity; 4] = [
    ("resident", |sums| sums.rss_bytes, UNIT_SIZE_BYTES),
    ("anonymous", |sums| sums.anon_bytes, UNIT_SIZE_BYTES),
    ("swap", |sums| sums.swap_bytes, UNIT_SIZE_BYTES),
    ("processes", |sums| u64::from(sums.processes), UNIT_COUNT),
];
/// The tracks: those of tests, of marks, of late ticks, and from then on those of groups.
const MARKS: u64 = 1;
const LATE: u64 = 2;
const FIRST_TEST: u64 = 1 << 32;
const FIRST_GROUP: u64 = 2 << 32;

#[derive(Clone, PartialEq, Message)]
struct Trace {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<TracePacket>,
}

#[derive(Clone, PartialEq, Message)]
struct TracePacket {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(uint32, optional, tag = "13")]
    sequence_flags: Option<u32>,
    #[prost(oneof = "Content", tags = "6, 11, 60")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Content {
    #[prost(message, tag = "6")]
    Clocks(ClockSnapshot),
    #[prost(message, tag = "11")]
    Event(TrackEvent),
    #[prost(message, tag = "60")]
    Track(TrackDescriptor),
}

#[derive(Clone, PartialEq, Message)]
struct ClockSnapshot {
    #[prost(message, repeated, tag = "1")]
    clocks: Vec<Clock>,
}

#[derive(Clone, PartialEq, Message)]
struct Clock {
    #[prost(uint32, optional, tag = "1")]
    clock_id: Option<u32>,
    #[prost(uint64, optional, tag = "2")]
    timestamp: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
    #[prost(message, optional, tag = "8")]
    counter: Option<CounterDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct CounterDescriptor {
    #[prost(int32, optional, tag = "3")]
    unit: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(int32, optional, tag = "9")]
    kind: Option<i32>,
    #[prost(uint64, optional, tag = "11")]
    track_uuid: Option<u64>,
    #[prost(string, optional, tag = "23")]
    name: Option<String>,
    #[prost(int64, optional, tag = "30")]
    counter_value: Option<i64>,
}

/// Writes counter tracks for all processes together and for each group, the tests, the marks, and late or missed ticks.
///
/// # Errors
///
/// A table cannot be read, or what `out` says.
pub fn write(recording: &Recording, groups: &Groups, out: &mut impl Write) -> io::Result<()> {
    let anchor = recording.manifest().provenance.clock;
    let at = |ts_ms: i64| Some(boot_ns(anchor, ts_ms));
    let clock = |id, ns| Clock { clock_id: Some(id), timestamp: Some(ns) };
    let clocks = vec![
        clock(BOOTTIME, anchor.boot_ns),
        clock(REALTIME, u64::try_from(anchor.utc_ns).unwrap_or(0)),
    ];
    let mut packets = Packets { out, is_first: true };
    packets.write(None, Content::Clocks(ClockSnapshot { clocks }))?;

    let spans = test_spans(recording)?;
    for row in 0..spans.iter().map(|span| span.row + 1).max().unwrap_or(0) {
        packets.write(None, track(FIRST_TEST + row as u64, "tests", None, None))?;
    }
    packets.write(None, track(MARKS, "marks", None, None))?;
    packets.write(None, track(LATE, "late or missed ticks", None, Some(UNIT_COUNT)))?;
    for number in 0..=groups.groups.len() {
        let parent = group_track(number, 0);
        packets.write(None, track(parent, &name(groups, number), None, None))?;
        for (index, (quantity, _, unit)) in (1..).zip(QUANTITIES) {
            let counter = track(group_track(number, index), quantity, Some(parent), Some(unit));
            packets.write(None, counter)?;
        }
    }
    for span in spans {
        let uuid = FIRST_TEST + span.row as u64;
        packets.write(at(span.begin_ms), event(SLICE_BEGIN, uuid, Some(span.name), None))?;
        packets.write(at(span.end_ms), event(SLICE_END, uuid, None, None))?;
    }
    for mark in marks(recording)? {
        packets.write(at(mark.ts_ms), event(INSTANT, MARKS, Some(mark.name), None))?;
    }
    for tick in tick_instants(recording)? {
        let late = Some(i64::from(tick.late));
        packets.write(at(tick.ts_ms), event(COUNTER, LATE, None, late))?;
    }
    groups.for_each_point(recording, |point| {
        for (index, (_, value, _)) in (1..).zip(QUANTITIES) {
            let value = i64::try_from(value(&point.sums)).unwrap_or(i64::MAX);
            let uuid = group_track(point.group, index);
            packets.write(at(point.ts_ms), event(COUNTER, uuid, None, Some(value)))?;
        }
        Ok(())
    })
}

/// Writes packets one by one: the bytes of several traces behind each other are a trace.
struct Packets<'a, W> {
    out: &'a mut W,
    is_first: bool,
}

impl<W: Write> Packets<'_, W> {
    fn write(&mut self, timestamp: Option<u64>, content: Content) -> io::Result<()> {
        let packet = TracePacket {
            timestamp,
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: std::mem::take(&mut self.is_first).then_some(CLEARED),
            content: Some(content),
        };
        self.out.write_all(&Trace { packet: vec![packet] }.encode_to_vec())
    }
}

fn group_track(number: usize, index: u64) -> u64 {
    FIRST_GROUP + number as u64 * 8 + index
}

fn track(uuid: u64, name: &str, parent: Option<u64>, unit: Option<i32>) -> Content {
    Content::Track(TrackDescriptor {
        uuid: Some(uuid),
        name: Some(name.to_owned()),
        parent_uuid: parent,
        counter: unit.map(|unit| CounterDescriptor { unit: Some(unit) }),
    })
}

fn event(kind: i32, track: u64, name: Option<String>, counter_value: Option<i64>) -> Content {
    Content::Event(TrackEvent { kind: Some(kind), track_uuid: Some(track), name, counter_value })
}

fn boot_ns(anchor: ClockAnchor, ts_ms: i64) -> u64 {
    let since_anchor = i128::from(ts_ms) * 1_000_000 - i128::from(anchor.utc_ns);
    u64::try_from(i128::from(anchor.boot_ns) + since_anchor).unwrap_or(0)
}
