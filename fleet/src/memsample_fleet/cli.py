"""The command `memsample-fleet`."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import psycopg

import memsample_fleet
from memsample_fleet import jobs, labels, text
from memsample_fleet import wait as waiting
from memsample_fleet.config import Config, load
from memsample_fleet.database import connect, reason
from memsample_fleet.errors import FleetError, InvalidSuiteError

_EPILOG = """\
The broker and the database are named by fleet.toml (--config FILE,
$MEMSAMPLE_FLEET_CONFIG, ./fleet.toml, ~/.config/memsample/fleet.toml or
/etc/memsample/fleet.toml) or by MEMSAMPLE_FLEET_BROKER and
MEMSAMPLE_FLEET_DATABASE. docs/fleet.md builds a lab in ten minutes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the command; returns its exit code."""
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(parsed.execute(load(parsed.config), parsed))
    except InvalidSuiteError as error:
        text.err(f"error: {error}")
        return error.code
    except FleetError as error:
        text.err(f"error: {error}")
        return 1
    except psycopg.Error as error:
        text.err(f"error: the database failed: {reason(error)}")
        return 1
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the words of a command; wrong usage ends the program with exit code 2."""
    words, options = list(arguments), []
    if "--" in words:
        cut = words.index("--")
        words, options = words[:cut], words[cut + 1 :]
    parser = _parser()
    parsed = parser.parse_args(words)
    parsed.options = options
    if options and parsed.command not in ("submit", "compare"):
        parser.error("only `submit` and `compare` pass words after `--` on, to `memsample run`")
    return parsed


def commands() -> set[str]:
    """Return the names of the commands."""
    actions = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return set(actions[0].choices)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memsample-fleet",
        description="Run suites of memsample on many machines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"memsample-fleet {memsample_fleet.__version__}")
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, execute: Any, told: str, epilog: str | None = None) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=told, description=told[0].upper() + told[1:] + ".", epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(execute=execute)
        return made

    made = command(
        "submit",
        _submit,
        "send a suite to the workers; prints the id of the job",
        "Words after `--` go to `memsample run`, such as `-- --tag smoke`.\n"
        "The suite is read first, by `memsample run --list` if memsample is here. Then\n"
        "its directory is sent, without .git, .hg, .svn, runs and what is hidden; at most\n"
        "64 MiB packed.\n\n"
        "With --wait, the exit code is that of the worst run, as of `memsample run`:\n"
        "0 passed, 10 a test did not pass, 11 cancelled or aborted, 12 invalid suite,\n"
        "13 no test selected, 1 no attempt came to a result. Ctrl-C cancels the job.",
    )
    made.add_argument("suite", metavar="SUITE", help="TOML file, or directory in UTAH's format")
    made.add_argument("--on", nargs="+", action="extend", default=[], metavar="LABEL",
                      help="labels that the worker must have, all of them; or @NAME, a worker")  # fmt: skip
    made.add_argument("--repeat", type=int, default=1, metavar="N", help="number of runs [default: 1]")
    made.add_argument("--priority", type=int, default=4, metavar="P", help="0 (last) to 9 (first) [default: 4]")
    made.add_argument("--attempts", type=int, default=3, metavar="N",
                      help="how often a run is begun whose worker is lost [default: 3]")  # fmt: skip
    made.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="label of the runs")
    made.add_argument("--name", help="name of the job [default: that of the suite's directory or file]")
    made.add_argument("--wait", action="store_true", help="wait for the end, with progress on stderr")
    made.add_argument("--dry-run", action="store_true", help="print the files that would be sent, and send nothing")
    _packing(made)
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command(
        "compare",
        _compare,
        "compare the memory of two suites, run in turns on one worker",
        "What is suspect is run again, up to two times. Words after `--` go to\n"
        "`memsample run`.\n"
        "Exit codes are those of `memsample compare`: 0 nothing is known to have got\n"
        "worse, 20 something got worse, 21 something is suspect, 1 failure.\n"
        "Ctrl-C cancels the runs.",
    )
    made.add_argument("base", metavar="BASE", help="suite of the base")
    made.add_argument("head", metavar="HEAD", help="suite of the head")
    made.add_argument("--on", nargs="+", action="extend", default=[], metavar="LABEL",
                      help="labels of the worker, which runs all of it; or @NAME")  # fmt: skip
    made.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each side at first [default: 5]")
    made.add_argument("--priority", type=int, default=4, metavar="P", help="0 (last) to 9 (first) [default: 4]")
    made.add_argument("--html", metavar="FILE", help="write a report too")
    _packing(made)
    made.add_argument("--json", action="store_true", help="print JSON, as `memsample compare`")

    made = command("status", _status, "show the latest jobs, or the runs of a job")
    made.add_argument("job", nargs="*", metavar="JOB")
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command("logs", _logs, "print what the runs of a job wrote to stderr")
    made.add_argument("job", metavar="JOB", help="a job or a run")
    made.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")

    made = command("cancel", _cancel, "cancel jobs: what runs is ended within two seconds")
    made.add_argument("job", nargs="+", metavar="JOB")

    made = command(
        "results",
        _results,
        "print the results of a job",
        "The exit code is that of the worst run, as of `submit --wait`;\n1 while a run has no result.",
    )
    made.add_argument("job", nargs="+", metavar="JOB")
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command("workers", _workers, "show the workers, their labels and what they do")
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command("doctor", _doctor, "check broker, database, workers, clocks; exit code 1 if one is bad")
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command(
        "board",
        _board,
        "keep a file for `memsample serve --fleet FILE` up to date",
        "Goes on until it is stopped; --once writes it once. While the database is away,\n"
        "the file grows old, and the page says so.",
    )
    made.add_argument("file", metavar="FILE")
    made.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="how often [default: 5]")
    made.add_argument("--once", action="store_true", help="write it once")

    made = command(
        "beat",
        _beat,
        "begin the releases of a file when they are due, and judge them",
        "Goes on until it is stopped. Several may: nothing is begun twice.\ndocs/fleet.md describes the file.",
    )
    made.add_argument("file", metavar="FILE", help="such as releases.toml")
    made.add_argument("--check", action="store_true", help="read the file and print the next times only")

    made = command("releases", _releases, "show the latest releases and their verdicts")
    made.add_argument("name", nargs="?", metavar="NAME")
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command(
        "mirror",
        _mirror,
        "keep the newest images of a source in a directory",
        "Each FROM is the URL of a file SHA256SUMS, or of an image that has URL.sha256\n"
        "beside it; s3://BUCKET/PREFIX; a directory; or a file with URLs of images. What\n"
        "is fetched goes on at its last byte after a cut, and appears when all of it fits\n"
        "its checksum.\n"
        "Goes on until it is stopped; --once ends with exit code 1 if something failed.",
    )
    made.add_argument("sources", nargs="+", metavar="FROM")
    made.add_argument("--into", required=True, metavar="DIR", help="directory of the images")
    made.add_argument("--match", default="*", metavar="PATTERN", help="names of images [default: *]")
    made.add_argument("--newest", type=int, default=5, metavar="N", help="how many are kept [default: 5]")
    made.add_argument("--most-bytes", type=int, default=64 << 30, metavar="BYTES",
                      help="the most bytes of an image [default: 64 GiB]")  # fmt: skip
    made.add_argument("--every", default="10m", metavar="TIME", help="how often it looks [default: 10m]")
    made.add_argument("--once", action="store_true", help="look once")

    made = command(
        "devices",
        _devices,
        "show the devices that workers serve over ssh, and why one is put aside",
        "A device that could not be provisioned with an image is not given it again by\n"
        "itself: --again NAME lets it. Exit code 1 if a device is not ready.",
    )
    made.add_argument("--again", metavar="NAME", help="let this device be provisioned with what failed")
    made.add_argument("--json", action="store_true", help="print JSON")

    made = command(
        "worker",
        _worker,
        "be a worker until SIGTERM, which lets the run that goes on end",
        "With --devices, the devices of a file are served over ssh, each as a worker of\n"
        "its name, and nothing is run on this machine. docs/fleet.md describes the file.",
    )
    made.add_argument("--devices", metavar="FILE", help="serve the devices of this file, such as devices.toml")
    made.add_argument("--check", action="store_true", help="read the file of devices only")
    made.add_argument("--device", help=argparse.SUPPRESS)
    made.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


def _packing(made: argparse.ArgumentParser) -> None:
    made.add_argument("--hidden", action="store_true", help="send hidden files and directories, too")
    made.add_argument("--unchecked", action="store_true",
                      help="do not let the memsample of this machine read the suite first")  # fmt: skip


def _submit(config: Config, asked: argparse.Namespace) -> int:
    from memsample_fleet import broker, submit, suite

    path = Path(asked.suite)
    options = (*submit.checked(asked.options), *(part for label in asked.label for part in ("--label", label)))
    wanted = jobs.Wanted(
        asked.name or submit.name_of(path),
        labels.normalize(asked.on),
        asked.repeat,
        asked.priority,
        options,
        asked.attempts,
    )
    packed = suite.pack(config, path, options, hidden=asked.hidden, checked=not asked.unchecked)
    sent = f"{text.counted(len(packed.names), 'file')}, {text.size(len(packed.data))} packed"
    for line in suite.remarks(packed):
        text.err(line)
    if asked.dry_run:
        text.out_json({"sha256": packed.sha256, "files": packed.names}) if asked.json else text.out(
            "\n".join(packed.names)
        )
        text.err(f"{sent}; nothing was sent")
        return 0
    app = broker.application(config)
    with connect(config) as connection:
        # First, so that nothing is asked for if it cannot be told.
        with broker.Publisher(app) as publisher:
            job_id = jobs.insert(connection, packed, wanted)
            submit.publish(connection, publisher, job_id)
        for line in submit.remarks(connection, wanted.labels):
            text.err(line)
    if not asked.wait:
        if asked.json:
            text.out_json({"job": job_id, "runs": asked.repeat, "sha256": packed.sha256})
        else:
            text.out(job_id)
        return 0
    text.err(f"job {job_id}: {text.counted(asked.repeat, 'run')} of {sent}")
    return _wait(config, job_id, asked.json)


def _wait(config: Config, job_id: str, as_json: bool) -> int:
    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    try:
        runs = waiting.wait(config, job_id)
    except KeyboardInterrupt:
        text.err(f"\ncancelling {job_id}")
        if not waiting.cancel(config, job_id):
            text.err(f"it has not ended yet: memsample-fleet status {job_id}")
        return 11
    if as_json:
        text.out_json({"job": job_id, "runs": [_public(run) for run in runs]})
    else:
        text.out(job_id)
    return jobs.exit_code([run["exit_code"] for run in runs])


def _compare(config: Config, asked: argparse.Namespace) -> int:
    from memsample_fleet import compare, submit

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    options = submit.checked(asked.options)
    html = None if asked.html is None else Path(asked.html)
    wanted = compare.Asked(Path(asked.base), Path(asked.head), labels.normalize(asked.on), asked.repeat,
                           asked.priority, options, asked.json, html, asked.hidden, asked.unchecked)  # fmt: skip
    return compare.compare(config, wanted)


def _public(run: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run.items() if key != "number"}


def _status(config: Config, asked: argparse.Namespace) -> int:
    with connect(config) as connection:
        if asked.job:
            runs = jobs.runs(connection, asked.job)
            if asked.json:
                text.out_json([_public(run) for run in runs])
                return 0
            rows = [
                (run["run_id"], run["outcome"] or run["state"], _tests(run), f"{run['attempt']}/{run['most_attempts']}",
                 text.duration(run["duration_s"]), run["worker"] or "-", run["message"] or run["note"] or "")
                for run in runs
            ]  # fmt: skip
            text.out(text.table(("RUN", "STATE", "TESTS", "ATTEMPT", "TIME", "WORKER", ""), _no_dashes(rows)))
            return 0
        latest = jobs.latest(connection, 30)
    if asked.json:
        text.out_json(latest)
    elif not latest:
        text.err("there is no job yet: memsample-fleet submit SUITE")
    else:
        lines = [
            (job["job_id"], " ".join(job["labels"]) or "any", job["state"], text.duration(job["age_s"]))
            for job in latest
        ]
        text.out(text.table(("JOB", "ON", "RUNS", "AGE"), lines))
    return 0


def _no_dashes(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(*row[:-1], row[-1] or " ") for row in rows]


def _tests(run: dict[str, Any]) -> str:
    if run["counts"]:
        total = sum(run["counts"].values())
        return f"{run['counts'].get('passed', 0)}/{total} passed"
    return f"{run['tests_ended']}/{run['tests']}" if run["tests"] else "-"


def _logs(config: Config, asked: argparse.Namespace) -> int:
    after: dict[str, tuple[int, int]] = {}
    with connect(config) as connection:
        while True:
            runs = jobs.runs(connection, [asked.job])
            ended = all(run["state"] == "ended" for run in runs)
            for run in runs:
                for line in jobs.log_lines(connection, run["run_id"], after.get(run["run_id"], (0, 0))):
                    after[run["run_id"]] = (line["attempt"], line["line"])
                    prefix = f"{run['run_id']}  " if len(runs) > 1 else ""
                    text.out(prefix + line["text"])
            if ended or not asked.follow:
                return 0
            time.sleep(0.5)


def _cancel(config: Config, asked: argparse.Namespace) -> int:
    code = 0
    with connect(config) as connection:
        job_ids = [run["job_id"] for run in jobs.runs(connection, asked.job)]
    for job_id in dict.fromkeys(job_ids):
        if waiting.cancel(config, job_id):
            text.out(f"{job_id}: ended")
        else:
            text.err(f"error: {job_id}: it has not ended yet: memsample-fleet status {job_id}")
            code = 1
    return code


def _results(config: Config, asked: argparse.Namespace) -> int:
    with connect(config) as connection:
        runs = jobs.runs(connection, asked.job)
    if asked.json:
        text.out_json([_public(run) for run in runs])
    else:
        rows = [
            (run["run_id"], run["outcome"] or run["state"], _tests(run), text.duration(run["duration_s"]),
             run["worker"], run["stored_as"] or run["store"])
            for run in runs
        ]  # fmt: skip
        text.out(text.table(("RUN", "OUTCOME", "TESTS", "TIME", "WORKER", "STORED AS"), rows))
        for run in runs:
            if run["message"]:
                text.out(f"{run['run_id']}: {run['message']}")
            for test in run["not_passed"] or []:
                why = f": {test['message']}" if test["message"] else ""
                text.out(f"{run['run_id']}: {test['outcome']}  {test['test']}{why}")
    return jobs.exit_code([1 if run["exit_code"] is None else run["exit_code"] for run in runs])


def _workers(config: Config, asked: argparse.Namespace) -> int:
    with connect(config) as connection:
        rows = jobs.workers(connection)
    if asked.json:
        text.out_json(rows)
    elif not rows:
        text.err("no worker has been seen: start one with memsample-fleet worker")
    else:
        text.out(
            text.table(
                ("WORKER", "STATE", "SEEN", "MEMSAMPLE", "FREE", "LABELS", "RUNS"),
                [
                    (
                        row["worker"],
                        row["state"],
                        text.duration(row["seen_s"]) + " ago",
                        row["memsample_version"],
                        None if row["free_bytes"] is None else text.size(row["free_bytes"]),
                        " ".join(row["labels"]),
                        row["run_id"],
                    )
                    for row in rows
                ],
            )
        )
        for row in rows:
            if row["note"]:
                text.out(f"{row['worker']}: {row['note']}")
    return 0


def _doctor(config: Config, asked: argparse.Namespace) -> int:
    from memsample_fleet import doctor

    checks = doctor.check(config)
    if asked.json:
        text.out_json([check.__dict__ for check in checks])
    else:
        rows = [(check.verdict, check.name, check.found) for check in checks]
        found = text.table(("", "CHECK", "FOUND"), rows)
        text.out(text.wrapped(found, found.index("FOUND")))
    return 1 if any(check.verdict == "bad" for check in checks) else 0


def _board(config: Config, asked: argparse.Namespace) -> int:
    from memsample_fleet import board

    file = Path(asked.file)
    if not file.parent.is_dir():
        raise FleetError(f"there is no directory {file.parent}")
    if not 0.5 <= asked.every <= 25:
        raise FleetError("--every takes 0.5 to 25 seconds: a file older than 30 s is old to its readers")
    if asked.once:
        with connect(config) as connection:
            board.write(board.read(connection), file)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    board.keep(config, file, asked.every)
    return 0


def _beat(config: Config, asked: argparse.Namespace) -> int:
    from memsample_fleet import beat, releases

    read = releases.read(Path(asked.file))
    if asked.check:
        now = datetime.now(UTC)
        rows = []
        for release in read:
            upcoming = next(release.between(now, now + timedelta(days=366)), None)
            when = [f"{upcoming:%Y-%m-%d %H:%M:%S}"] if upcoming else []
            if release.on_image is not None:
                when.append(f"a new {release.on_image.match} in {release.on_image.directory}")
            rows.append((release.name, len(release.parts), ", or ".join(when) or "never"))
        text.out(text.table(("RELEASE", "SUITES", "NEXT (UTC)"), rows))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    beat.Beat(config, read).keep()
    return 0


def _releases(config: Config, asked: argparse.Namespace) -> int:
    with connect(config) as connection:
        rows = connection.execute(
            """SELECT name, due_at, verdict, message, begun_at, ended_at, image, image_sha256,
                      hook_begun_at, hook_exit, hook_said,
                      (SELECT coalesce(json_agg(job_id ORDER BY part), '[]') FROM jobs
                       WHERE jobs.release_id = releases.release_id) AS jobs
               FROM releases WHERE %s::text IS NULL OR name = %s ORDER BY due_at DESC LIMIT 50""",
            [asked.name, asked.name],
        ).fetchall()
    if asked.json:
        text.out_json(rows)
    elif not rows:
        text.err("there is no release yet: see memsample-fleet beat --help")
    else:
        lines = [
            (row["name"], f"{row['due_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}", row["verdict"] or "running", _hook(row),
             row["message"] or " ".join(row["jobs"]))
            for row in rows
        ]  # fmt: skip
        text.out(text.table(("RELEASE", "DUE (UTC)", "VERDICT", "HOOK", "RUNS"), lines))
        for row, line in zip(rows, lines, strict=True):
            if row["hook_exit"] and row["hook_said"]:
                text.out(f"{row['name']} of {line[1]}: the hook said: {text.printable(row['hook_said'], 300)}")
    return 0


def _hook(row: dict[str, Any]) -> str:
    if row["hook_begun_at"] is None:
        return "-"
    return "not known" if row["hook_exit"] is None else f"exit {row['hook_exit']}"


def _mirror(config: Config, asked: argparse.Namespace) -> int:
    from memsample_fleet import image_sources, mirror, releases

    try:
        every = releases.duration(asked.every)
    except ValueError as error:
        raise FleetError(f"--every {error}") from None
    if asked.newest < 1 or asked.most_bytes < 1 or every < timedelta(seconds=1):
        raise FleetError("--newest and --most-bytes take 1 or more, and --every 1s or more")
    into = Path(asked.into)
    wanted = mirror.Asked(into, asked.newest, asked.most_bytes, config.free_bytes)
    kept = mirror.Mirror(wanted, image_sources.listing(asked.sources, asked.match))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not asked.once:
        kept.keep(every)
    failed = kept.once()
    for line in failed:
        text.err(f"error: {line}")
    return 1 if failed else 0


def _devices(config: Config, asked: argparse.Namespace) -> int:
    with connect(config) as connection:
        if (
            asked.again is not None
            and not connection.execute(
                "UPDATE devices SET failed_sha256 = NULL WHERE device = %s RETURNING 1 AS there", [asked.again]
            ).fetchone()
        ):
            raise FleetError(f"there is no device `{asked.again}`: see memsample-fleet devices")
        rows = jobs.devices(connection)
    if asked.json:
        text.out_json(rows)
    elif not rows:
        text.err("no device has been seen: see memsample-fleet worker --help")
    else:
        lines = [
            (row["device"], row["state"], text.duration(row["since_s"]), row["image"] or "not known", row["host"],
             " ".join(row["labels"]))
            for row in rows
        ]  # fmt: skip
        text.out(text.table(("DEVICE", "STATE", "FOR", "IMAGE", "SERVED BY", "LABELS"), lines))
        for row in rows:
            if row["why"]:
                text.out(f"{row['device']}: {row['why']}")
    return 0 if all(row["state"] in ("ready", "provisioning", "checking") for row in rows) else 1


def _worker(config: Config, asked: argparse.Namespace) -> int:
    from memsample_fleet import device_care, device_host, devices, worker

    if asked.devices is None:
        if asked.check or asked.device:
            raise FleetError("--check and --device say nothing without --devices")
        return worker.start(config, asked.log_level)
    file = Path(asked.devices)
    served = devices.read(file)
    if asked.check:
        lines = [(device.name, device.address, " ".join(device.labels), " ".join(device.hooks)) for device in served]
        text.out(text.table(("DEVICE", "ADDRESS", "LABELS", "HOOKS"), lines))
        return 0
    if asked.device is None:
        return device_host.serve(config, file, served, asked.log_level)
    device = next((device for device in served if device.name == asked.device), None)
    if device is None:
        raise FleetError(f"{file} has no device `{asked.device}`")
    worker.die_with_parent()
    care = device_care.Care(config.state_dir, device)
    return worker.start(device_care.config_of(config, device), asked.log_level, care)


if __name__ == "__main__":
    sys.exit(main())
