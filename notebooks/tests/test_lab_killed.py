"""A push that is killed, at any point and within a large file, and a daemon that pushes when the store is there again.

MEMSAMPLE names the program, built with the feature `lab`. The daemon is beside it.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from lab_runs import DAEMON, MEMSAMPLE, SECRET, listed, memsample, request
from s3_proxy import error_of_s3


@pytest.mark.parametrize("after", [0, 1, 5, 10, 16])
def test_a_push_that_is_killed_is_never_seen_and_goes_on(runs, bucket, after):
    address, direct, through = bucket
    reached, wait = threading.Event(), threading.Event()

    def behave(handler):
        if handler.command == "PUT" and handler.server.written > after:
            reached.set()
            wait.wait(300)
            return handler.answer(500, b"") is None
        return False

    _, environment = through(behave)
    push = subprocess.Popen(
        [MEMSAMPLE, "push", runs[1], address], env={**os.environ, **environment}, stderr=subprocess.PIPE
    )
    assert reached.wait(300)
    push.send_signal(signal.SIGKILL)
    push.wait()
    wait.set()
    assert listed(address, direct) == []
    result = json.loads(memsample("push", runs[1], address, "--json", environment=direct).stdout)[0]
    assert not result["was_there"]
    assert (result["found_bytes"] > 0) == (after > 0)
    assert len(listed(address, direct)) == 1
    assert "all as they were pushed" in memsample("verify", address, environment=direct).stdout


def is_part(handler):
    return handler.command == "PUT" and "partNumber=" in handler.path


@pytest.mark.parametrize("meanwhile", ["nothing", "the upload is gone", "a part is gone", "the note is damaged"])
def test_slow_a_push_that_is_killed_within_a_large_file_goes_on_there(runs, s3, bucket, tmp_path, meanwhile):
    address, direct, through = bucket
    large = tmp_path / "large"
    shutil.copytree(runs[1], large)
    (large / "tests" / "dump").write_bytes(os.urandom((48 << 20) + 1))
    state = tmp_path / "state"
    reached, wait, parts = threading.Event(), threading.Event(), []

    def behave(handler):
        if not is_part(handler):
            return False
        with handler.server.lock:
            parts.append(handler.path)
            late = len(parts) > 4
        if late:
            # Four have been answered by then, since so many are sent at once.
            reached.set()
            wait.wait(300)
            return handler.answer(500, b"") is None
        return False

    _, environment = through(behave)
    environment = {**os.environ, **environment, "XDG_STATE_HOME": str(state)}
    push = subprocess.Popen([MEMSAMPLE, "push", large, address], env=environment, stderr=subprocess.PIPE)
    assert reached.wait(300)
    (note,) = (state / "memsample/pushes").iterdir()
    end = time.monotonic() + 300
    while len(note.read_text().splitlines()) < 4:
        assert time.monotonic() < end
        time.sleep(0.01)
    push.send_signal(signal.SIGKILL)
    push.wait()
    wait.set()
    noted = note.read_text().splitlines()
    assert listed(address, direct) == []

    name = address.split("/")[2]
    gone = "none"
    if meanwhile == "the upload is gone":
        upload = s3[1].list_multipart_uploads(Bucket=name)["Uploads"][0]
        gone = upload["UploadId"]
        s3[1].abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=gone)
    elif meanwhile == "a part is gone":
        changed = json.loads(noted[1])
        note.write_text("\n".join([noted[0], json.dumps({**changed, "id": "0" * 32}), *noted[2:], ""]))
    elif meanwhile == "the note is damaged":
        note.write_text(noted[0][:-4])
    again = []

    def answers(handler):
        if not is_part(handler):
            return False
        again.append(handler.path)
        # moto ends in an error of its own there.
        return gone in handler.path and error_of_s3(handler, 404, "NoSuchUpload")

    _, environment = through(answers)
    environment = {**environment, "XDG_STATE_HOME": str(state)}
    result = json.loads(memsample("push", large, address, "--json", environment=environment).stdout)[0]
    # Of seven parts, those that are noted are not sent again.
    known = {"nothing": len(noted) - 1}.get(meanwhile, 0)
    if meanwhile == "nothing":
        assert known >= 3 and len(again) == 7 - known, again
        assert result["found_bytes"] >= known * (8 << 20) and result["sent_bytes"] < (7 - known) * (8 << 20) + (4 << 20)
    else:
        assert len(set(again)) >= 7, again
    assert not note.exists()
    assert "all as they were pushed" in memsample("verify", address, environment=direct).stdout
    memsample("pull", address, "large", "--out", tmp_path / "out", environment=direct)
    assert (tmp_path / "out/large/tests/dump").read_bytes() == (large / "tests/dump").read_bytes()
    # The hash is with the object: it is not sent a second time for another run that failed behind it.
    assert json.loads(memsample("push", large, address, "--json", environment=direct).stdout)[0]["was_there"]


def test_the_daemon_pushes_when_the_store_is_there_again(bucket, tmp_path):
    address, direct, through = bucket
    down = threading.Event()
    down.set()
    _, environment = through(lambda handler: down.is_set() and error_of_s3(handler, 403, "AccessDenied"))
    command = [DAEMON, "--socket", tmp_path / "s", "--recordings", tmp_path / "recordings", "--push", address]

    def daemon():
        log = open(tmp_path / "log", "w+")
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=log)
        while True:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                request(tmp_path / "s", "GET", "/healthz")
                return process
            except OSError:
                time.sleep(0.05)

    def waiting():
        metrics = request(tmp_path / "s", "GET", "/metrics")
        return next(line for line in metrics.splitlines() if line.startswith("memsampled_pushes_waiting ")).split()[1]

    process = daemon()
    try:
        session = json.loads(request(tmp_path / "s", "POST", "/v1/sessions", {"interval": "50ms"}))["id"]
        request(tmp_path / "s", "POST", f"/v1/sessions/{session}/stop")
        while "is not pushed yet" not in (tmp_path / "log").read_text():
            assert process.poll() is None
            time.sleep(0.05)
        assert waiting() == "1"
    finally:
        process.terminate()
        process.wait()
    assert listed(address, direct) == []
    # What waits outlives the daemon.
    down.clear()
    process = daemon()
    try:
        while not listed(address, direct):
            assert process.poll() is None
        assert [row["run"].startswith(session) for row in listed(address, direct)] == [True]
        while waiting() != "0":
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait()
    assert SECRET not in (tmp_path / "log").read_text()
