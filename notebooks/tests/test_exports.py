"""What `memsample export` writes, read by the tools that it is for, and compared with the recording and the results.

MEMSAMPLE names the program that records. Slow: half a minute.
"""

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import duckdb
import jsonschema
import pandas
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent
from trace_processor import TraceProcessor

MEMSAMPLE = os.environ["MEMSAMPLE"]
MIB = 1 << 20

# Quotes, braces, commas, backslashes, what begins a comment, and letters of two bytes and more.
NAME = 'ho"l\'d {a="b"}, \\n #1 日ö'
SUITE_NAME = 'ex{port} #"1"'
# With a line feed, which the name of a test cannot have. The kernel cuts the name of a program at 15 bytes; the role has all of it.
PROGRAM = 'sl"eep {x}, \\n\n#ö'

SUITE = f"""
name = {json.dumps(SUITE_NAME)}

[defaults]
sandbox = "none"

[[test]]
name = {json.dumps(NAME)}
shell = "(head -c 60m /dev/zero; sleep 1) | tail -c 60m | wc -c"

[[test]]
name = "odd"
command = ["./odd/PROGRAM", "1"]

[[test]]
name = "fails"
shell = "sleep 0.3; exit 3"
"""

# As bencher.dev/bmf.json describes it.
METRIC = {
    "type": "object",
    "properties": {name: {"type": "number"} for name in ["value", "lower_value", "upper_value"]},
    "required": ["value"],
    "additionalProperties": False,
}
BENCHER = {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": METRIC}}


def memsample(*arguments, **options):
    return subprocess.run([MEMSAMPLE, *arguments], capture_output=True, **options)


def exported(what, to, *arguments):
    ended = memsample("export", what, "--to", to, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exports")
    (directory / "odd").mkdir()
    shutil.copy("/bin/sleep", directory / "odd" / PROGRAM)
    suite = directory / "suite.toml"
    suite.write_text(SUITE.replace("PROGRAM", json.dumps(PROGRAM)[1:-1]))
    ended = memsample("run", suite, "--repeat", "2", "--out", directory / "runs")
    assert ended.returncode == 10, ended.stderr
    return next((directory / "runs").glob("*Z"))


@pytest.fixture(scope="module")
def recording(run):
    return run / "recording"


def results(run):
    return json.loads((run / "results.json").read_text())


def peaks(run):
    """Returns the lower bounds of the peaks of each test that came to its end, by its name, ascending."""
    of = {}
    for test in results(run)["tests"]:
        for attempt in test["attempts"]:
            if attempt["outcome"] == "passed":
                of.setdefault(test["name"], []).append(attempt["memory"]["rss_peak_bytes"])
    return {name: sorted(all_of_it) for name, all_of_it in of.items()}


def samples(recording):
    return f"read_parquet('{recording}/samples*.parquet')"


def sums_by_role(recording):
    """Returns the sum of resident sets by role and tick, as DuckDB adds them up. The role is that of `processes`: a process
    that is sampled while it becomes another program has one of its own at that tick."""
    roles = f"(SELECT process, role FROM read_parquet('{recording}/processes*.parquet'))"
    of_samples = f"(SELECT process, ts, rss_bytes FROM {samples(recording)})"
    query = f"SELECT role, epoch_ms(ts), sum(rss_bytes)::BIGINT FROM {of_samples} JOIN {roles} USING (process) GROUP BY ALL"
    return {(role, ts): rss for role, ts, rss in duckdb.sql(query).fetchall()}


def blocks_of(text, directory):
    """Makes blocks of OpenMetrics, and returns what is in them: labels, value and milliseconds of each sample."""
    source = directory / "metrics.om"
    source.write_bytes(text)
    made = ["promtool", "tsdb", "create-blocks-from", "openmetrics", source, directory / "data"]
    subprocess.run(made, check=True, capture_output=True)
    # It looks for what a server has not made blocks of.
    (directory / "data" / "wal").mkdir()
    dumped = subprocess.run(
        ["promtool", "tsdb", "dump", directory / "data"], check=True, capture_output=True, text=True
    )
    for line in dumped.stdout.splitlines():
        labels, value, ts = line.rsplit(" ", 2)
        yield labels, float(value), int(ts)


def quoted(text):
    """Returns a text as Go quotes it where promtool prints it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def test_prometheus_has_each_tick_of_each_role(recording, tmp_path):
    of = {}
    for labels, value, ts in blocks_of(exported(recording, "openmetrics", "--top", "1000"), tmp_path):
        if '__name__="memsample_role_resident_bytes"' in labels:
            of[labels, ts] = value
    sums = sums_by_role(recording)
    roles = {role for role, _ in sums}
    assert any(PROGRAM in role for role in roles), roles
    name = lambda role: next(labels for labels, _ in of if f"role={quoted(role)}" in labels)
    names = {role: name(role) for role in roles}
    for (role, ts), rss in sums.items():
        assert of[names[role], ts] == rss
    # What else there is says that the last process of a role has ended.
    assert all(value == 0 for key, value in of.items() if key not in {(names[r], ts) for r, ts in sums})


def test_prometheus_has_the_bounds_of_each_attempt(run, tmp_path):
    found = list(blocks_of(exported(run, "openmetrics"), tmp_path))
    for test in results(run)["tests"]:
        for attempt in test["attempts"]:
            own = [
                (labels, value)
                for labels, value, _ in found
                if f"test={quoted(test['name'])}" in labels and f'repetition="{attempt["repetition"]}"' in labels
            ]
            value = lambda name: next((v for labels, v in own if f'__name__="{name}"' in labels), None)
            assert value("memsample_test_rss_peak_bytes") == attempt["memory"]["rss_peak_bytes"]
            assert value("memsample_test_rss_peak_upper_bytes") == attempt["memory"]["rss_peak_bytes_upper"]
            assert value("memsample_test_pss_peak_bytes") == attempt["memory"]["pss_peak_bytes"]
            assert any(f'outcome="{attempt["outcome"]}"' in labels for labels, _ in own)


def test_prometheus_answers_a_query(recording, tmp_path):
    """A server reads the blocks, and PromQL finds the largest sum."""
    text = exported(recording, "openmetrics")
    list(blocks_of(text, tmp_path))
    largest = max(sums_by_role(recording).values())
    rules = tmp_path / "rules.yml"
    rules.write_text("rule_files: []\n")
    (tmp_path / "prometheus.yml").write_text("global: {}\n")
    with open(tmp_path / "log", "w+") as log:
        server = subprocess.Popen(
            ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
            + ["--web.listen-address=127.0.0.1:0", "--storage.tsdb.retention.time=100y"],
            stderr=log,
        )
        try:
            address = None
            while not address:
                assert server.poll() is None, (tmp_path / "log").read_text()
                lines = (tmp_path / "log").read_text().splitlines()
                listening = [line for line in lines if "Listening on" in line and "127.0.0.1" in line]
                address = listening and listening[0].rsplit("address=", 1)[1]
                time.sleep(0.05)
            end = duckdb.sql(f"SELECT epoch(max(ts)) FROM {samples(recording)}").fetchall()[0][0]
            query = "max(max_over_time(memsample_role_resident_bytes[1h]))"
            ready = ["curl", "--silent", "--retry", "30", "--retry-all-errors", f"http://{address}/-/ready"]
            subprocess.run(ready, check=True, capture_output=True)
            asked = ["promtool", "query", "instant", f"--time={end}", f"http://{address}", query]
            answer = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
        finally:
            server.terminate()
            server.wait()
    assert float(answer.split()[2]) == largest, answer


def test_gitlab_reads_a_line_for_each_test(run):
    """As GitLab does: what follows `#` is cut off, then the first two words of the shell are name and value."""
    read = {}
    for line in exported(run, "gitlab").decode().splitlines():
        words = shlex.split(line.split("#", 1)[0])
        if len(words) > 1:
            assert words[0] not in read
            read[words[0]] = words[1]
    own = {name: value for name, value in read.items() if name.startswith("memsample_rss_peak_mib{")}
    expected = [str(round(all_of_it[0] / MIB)) for all_of_it in peaks(run).values()]
    assert list(own.values()) == expected
    assert "fails" not in "".join(own)


def test_bencher_has_the_bounds(run):
    read = json.loads(exported(run, "bencher"))
    jsonschema.validate(read, BENCHER)
    suite = results(run)["suite"]
    assert set(read) == {f"{suite}: {name}" for name in peaks(run)}
    for name, lower in peaks(run).items():
        metric = read[f"{suite}: {name}"]["rss-peak"]
        assert (metric["value"], metric["lower_value"]) == (lower[0], lower[0])
        assert metric.get("upper_value", lower[-1]) >= lower[-1]


def test_jenkins_plot_has_one_header_and_one_row(run):
    text = exported(run, "jenkins-plot").decode()
    assert text.count("\n") == 2
    header, row = csv.reader(io.StringIO(text), escapechar="\\", doublequote=True)
    assert header == list(peaks(run))
    assert [float(value) for value in row] == [round(lower[0] / MIB, 3) for lower in peaks(run).values()]


def test_chrome_has_tests_and_counters(recording):
    trace = json.loads(exported(recording, "chrome", "--top", "1000"))
    events = trace["traceEvents"]
    begin = trace["otherData"]["begin_ms_since_1970"]
    counters = {
        (event["name"], begin + event["ts"] // 1000): event["args"]["anonymous"] + event["args"]["file and shared"]
        for event in events
        if event["ph"] == "C"
    }
    for key, rss in sums_by_role(recording).items():
        assert counters[key] == rss
    spans = {event["name"]: event for event in events if event["ph"] == "X"}
    assert set(spans) == {name + more for name in [NAME, "odd", "fails"] for more in ["", " [2]"]}
    assert 900_000 < spans["odd"]["dur"] < 600_000_000


def test_perfetto_has_tests_and_counters(recording):
    trace = Trace()
    trace.ParseFromString(exported(recording, "perfetto", "--top", "1000"))
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")}
    clock = json.loads((recording / "recording.json").read_text())["clock"]
    counters, slices, open_slices = {}, [], {}
    for packet in (packet for packet in trace.packet if packet.HasField("track_event")):
        event = packet.track_event
        track = tracks[event.track_uuid]
        if event.type == TrackEvent.TYPE_COUNTER:
            if track.name == "resident":
                utc_ms = (packet.timestamp - clock["boot_ns"] + clock["utc_ns"]) // 1_000_000
                counters[tracks[track.parent_uuid].name, utc_ms] = event.counter_value
                assert track.counter.unit == track.counter.UNIT_SIZE_BYTES
        elif event.type == TrackEvent.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_slices
            open_slices[event.track_uuid] = event.name
        elif event.type == TrackEvent.TYPE_SLICE_END:
            slices.append(open_slices.pop(event.track_uuid))
    for key, rss in sums_by_role(recording).items():
        assert counters[key] == rss
    assert not open_slices
    assert sorted(slices) == sorted(name + more for name in [NAME, "odd", "fails"] for more in ["", " [2]"])
    assert all(packet.trusted_packet_sequence_id for packet in trace.packet)


def test_perfetto_itself_answers_queries(recording):
    """The trace processor of Perfetto's user interface makes the same of both kinds of traces, and finds no fault."""
    sums = sums_by_role(recording)
    spans = sorted(name + more for name in [NAME, "odd", "fails"] for more in ["", " [2]"])
    manifest = json.loads((recording / "recording.json").read_text())
    faults = "SELECT name, value FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0"
    slices = "SELECT name FROM slice WHERE dur > 0 ORDER BY name"

    with TraceProcessor(exported(recording, "perfetto", "--top", "1000")) as processor:
        assert processor.rows(faults) == []
        counters = processor.rows(
            "SELECT parent.name, counter.ts, counter.value FROM counter"
            " JOIN track AS own ON own.id = counter.track_id JOIN track AS parent ON parent.id = own.parent_id"
            " WHERE own.name = 'resident'"
        )
        since = manifest["clock"]["utc_ns"] - manifest["clock"]["boot_ns"]
        found = {(name, (ts + since) // 1_000_000): value for name, ts, value in counters}
        assert {key: found[key] for key in sums} == sums
        of_tests = [name for (name,) in processor.rows(slices)]
        assert [name for name in of_tests if name in spans] == spans

    trace = exported(recording, "chrome", "--top", "1000")
    begin = json.loads(trace)["otherData"]["begin_ms_since_1970"]
    with TraceProcessor(trace) as processor:
        assert processor.rows(faults) == []
        rows = processor.rows(
            "SELECT own.name, counter.ts, counter.value FROM counter JOIN counter_track AS own ON own.id = counter.track_id"
        )
        found = {}
        for name, ts, value in rows:
            role = name.removesuffix(" anonymous").removesuffix(" file and shared")
            if role != name:
                key = (role, begin + ts // 1_000_000)
                found[key] = found.get(key, 0) + value
        assert {key: found[key] for key in sums} == sums
        of_tests = [name for (name,) in processor.rows(slices)]
        assert [name for name in of_tests if name in spans] == spans


TABLES = ["samples", "processes", "ticks", "system", "cgroups", "exits", "marks", "tests", "test_roles"]


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_equal_in_csv_arrow_and_parquet(run, table, tmp_path):
    directory = run if table.startswith("test") else run / "recording"
    files = sorted(directory.glob(f"{table}*.parquet")) if table != "tests" else [run / "tests.parquet"]
    whole = pyarrow.concat_tables([pyarrow.parquet.read_table(file) for file in files])
    path = tmp_path / "table"
    exported(run, "arrow", "--table", table, "-o", path)
    arrow = pyarrow.ipc.open_file(path).read_all()
    assert arrow.schema.equals(whole.schema) and arrow.equals(whole)
    exported(run, "csv", "--table", table, "-o", path)
    # With the types of the table, all texts of which are in quotes and all nulls not.
    types = {field.name: str(field.type) for field in whole.schema}
    kinds = {"int64": "BIGINT", "int32": "INTEGER", "string": "VARCHAR", "bool": "BOOLEAN"}
    columns = {name: kinds.get(kind, "TIMESTAMPTZ") for name, kind in types.items()}
    options = f"header = true, columns = {columns}, allow_quoted_nulls = false, auto_detect = false"
    options += ", delim = ',', quote = '\"', escape = '\"', new_line = '\\n'"
    names = ", ".join(f"epoch_ms({name})" if kind.startswith("time") else name for name, kind in types.items())
    of_csv = duckdb.sql(f"SELECT {names} FROM read_csv('{path}', {options})").fetchall()
    assert of_csv == duckdb.sql(f"SELECT {names} FROM whole").fetchall()
    if not len(whole):
        return
    frame = pandas.read_csv(path, dtype={name: "Int64" for name, kind in types.items() if kind.startswith("int")})
    for name, kind in types.items():
        if kind.startswith("int"):
            assert frame[name].tolist() == whole[name].to_pandas(types_mapper=pandas.ArrowDtype).tolist() or (
                frame[name].isna().tolist() == whole[name].is_null().to_pylist()
                and frame[name].dropna().tolist() == whole[name].drop_null().to_pylist()
            )


def test_a_file_is_there_whole_or_not_at_all(recording, tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before")
    limited = f'ulimit -f 1; exec "$0" export "$1" --to csv -o "{path}"'
    ended = subprocess.run(["sh", "-c", limited, MEMSAMPLE, recording], capture_output=True, text=True)
    assert ended.returncode not in (0, None) and "cannot write" in ended.stderr
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_reader_that_goes_away_is_no_error(recording):
    for to in ["csv", "openmetrics", "chrome", "perfetto", "arrow"]:
        line = f'{{ "$0" export "$1" --to {to}; echo $? >&2; }} | head -c 10 >/dev/null'
        ended = subprocess.run(["sh", "-c", line, MEMSAMPLE, recording], capture_output=True, text=True)
        assert ended.stderr.splitlines()[-1] == "0" and "error" not in ended.stderr, (to, ended.stderr)


def test_what_cannot_be_written_is_refused(run, tmp_path):
    ended = memsample("export", run, "--to", "gitlab", "--table", "samples", text=True)
    assert (ended.returncode, ended.stdout) == (2, "") and "--table" in ended.stderr
    ended = memsample("export", run, "--to", "csv", "--table", "nothing", text=True)
    assert (ended.returncode, ended.stdout) == (2, "") and "there are samples, " in ended.stderr
    ended = memsample("export", tmp_path, "--to", "csv", text=True)
    assert (ended.returncode, ended.stdout) == (1, "") and "is not a recording" in ended.stderr
    typed = shlex.join([MEMSAMPLE, "export", str(run), "--to", "arrow"])
    ended = subprocess.run(["script", "-qec", typed, "/dev/null"], capture_output=True, text=True)
    assert ended.returncode == 1 and "not for a terminal" in ended.stdout
