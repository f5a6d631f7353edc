"""The board, as the dashboard shows it."""

import json
import os
import re
import signal
import subprocess
import urllib.request
from datetime import UTC, datetime, timedelta

from lab import Lab
from servers import Postgres, eventually, free_port


def test_the_dashboard_shows_workers_queues_and_what_runs(lab: Lab) -> None:
    lab.worker("lab7", "x86_64,gpu")
    marker = f"3{os.getpid()}"
    running = lab.do("submit", str(lab.suite("long", ("a", f"sleep {marker}", "")))).splitlines()[0]
    waiting = lab.do("submit", str(lab.suite("tiny", ("a", "true", ""))), "--on", "arm", "--repeat", "3").splitlines()[
        0
    ]
    eventually("it runs", lambda: lab.states(running) == ["running"])
    eventually("its tests are known", lambda: lab.json("status", running)[0]["tests"] == 1)
    file = lab.directory / "fleet.json"
    lab.do("board", str(file), "--once")
    board = json.loads(file.read_text())
    assert datetime.now(UTC) - datetime.fromisoformat(board["at"]) < timedelta(minutes=10)
    assert board["queues"] == [
        {"labels": [], "waiting": 0, "running": 1, "workers": 1},
        {"labels": ["arm"], "waiting": 3, "running": 0, "workers": 0},
    ]
    assert [(run["run_id"], run["worker"], run["tests"]) for run in board["running"]] == [(f"{running}.1", "lab7", 1)]
    assert [job["job_id"] for job in board["jobs"]] == [waiting, running]
    lab.store.mkdir(exist_ok=True)
    port = free_port()
    with (lab.directory / "serve.log").open("w") as log:
        serving = subprocess.Popen(
            [lab.memsample, "serve", "--runs", lab.store, "--fleet", file, "--listen", f"127.0.0.1:{port}",
             "--index", lab.directory / "index"],
            stdout=log, stderr=log,
        )  # fmt: skip

    def page(path: str) -> str:
        assert serving.poll() is None, (lab.directory / "serve.log").read_text()
        try:
            return str(urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120).read().decode())
        except OSError:
            return ""

    try:
        eventually("the dashboard answers", lambda: page("/fleet"))
        shown = " ".join(re.sub(r"<[^>]*>", " ", page("/fleet")).split())
        for told in ("lab7", "gpu x86_64", f"{running}.1", "3 waiting", "none", "0 of 1"):
            assert told in shown
        assert json.loads(page("/api/v1/fleet"))["fleet"]["workers"][0]["run_id"] == f"{running}.1"
    finally:
        serving.terminate()
        serving.wait()


def test_a_board_is_kept_up_to_date_and_waits_for_the_database(lab: Lab, postgres: Postgres) -> None:
    file = lab.directory / "fleet.json"
    keeping = lab.start("board", str(file), "--every", "0.5")
    eventually("it is written", file.exists)
    postgres.restart()
    lab.connection.close()
    job = lab.do("submit", str(lab.suite("tiny", ("a", "true", "")))).splitlines()[0]
    eventually("it tells of a new job", lambda: json.loads(file.read_text())["jobs"][0:1] and job in file.read_text())
    keeping.send_signal(signal.SIGTERM)
    _, err = keeping.communicate(timeout=300)
    assert keeping.returncode == 0
    assert "the board waits for the database" in err
    assert [path.name for path in lab.directory.glob(".fleet.json-*")] == []
    lab.when_there("SELECT 1")
