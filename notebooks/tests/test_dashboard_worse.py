"""What the dashboard tells by itself: releases that are begun and closed, what got worse, the webhook, the feed, badges, and
sessions that go on.

MEMSAMPLE names the program, built with the feature `lab`; MEMSAMPLED the daemon, or the one beside it. Slow: a minute.
"""

import hashlib
import hmac
import json
import os
import queue
import re
import subprocess
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from lab_runs import MEMSAMPLE, memsample
from test_dashboard import BROWSER, Server

ATOM = {"a": "http://www.w3.org/2005/Atom"}
READ, WRITE = "0123456789abcdef", "fedcba9876543210"
JSON = {"Content-Type": "application/json"}
OF_TEST = {"project": "default", "suite": "grows", "test": "holds"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Sixteen releases, of which the last eight need more memory."""
    place = tmp_path_factory.mktemp("runs")
    for number in range(16):
        mib = 20 if number < 8 else 40
        shell = f"(head -c {mib}m /dev/zero; sleep 0.1) | tail -c {mib}m | wc -c"
        suite = f'name = "grows"\n[defaults]\nsandbox = "none"\n[[test]]\nname = "holds"\nshell = "{shell}"\n'
        (place / "suite.toml").write_text(suite)
        options = ["--out", place, "--name", f"r{number:02}", "--label", f"release=1.{number}"]
        memsample("run", place / "suite.toml", *options)
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink())


@pytest.fixture
def tokens(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{READ}\n{WRITE} write\n")
    tokens.chmod(0o600)
    return tokens


class Receiver:
    """Another program's end of a webhook: answers with the statuses that it is given, then with 204."""

    def __init__(self, *statuses):
        self.received = queue.Queue()
        statuses = list(statuses)
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(statuses.pop(0) if statuses else 204)
                self.end_headers()
                received.put((dict(self.headers), body))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/with-a-secret"


def webhook_file(tmp_path, url, secret="of the lab"):
    file = tmp_path / "webhook"
    file.write_text(f"{url}\n{secret}\n")
    file.chmod(0o600)
    return file


def wait_for(what, is_good, server):
    end = time.monotonic() + 300
    while not is_good(found := what()):
        assert server.process.poll() is None and time.monotonic() < end, found
        time.sleep(0.05)
    return found


def post(server, body, token=WRITE, headers=JSON, status=200):
    headers = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
    connection = server.connect()
    connection.request("POST", server.address.path + "api/v1/releases", body=body, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == status, (answer.status, text)
    return json.loads(text) if answer.getheader("Content-Type") == "application/json" else text


def step(action, release="2.0", project="default"):
    return json.dumps({"project": project, "release": release, "action": action})


def test_what_got_worse_is_known_and_told_once(runs, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *runs[:12], lab)
    receiver = Receiver(500, 302)
    hook = webhook_file(tmp_path, receiver.url)
    options = ["--webhook-file", hook, "--public-url", "https://lab.example.org/memory/"]
    with Server(lab, tmp_path / "index", *options) as server:
        server.wait_for_runs(12)
        memsample("push", *runs[12:], lab)
        server.wait_for_runs(16)
        # On a busy machine a small change may be found beside the one that was made.
        changes = {
            it["release"]: (it["before_bytes"], it["after_bytes"])
            for it in server.json("test", **OF_TEST)["changes"]
            if it["after_bytes"] > it["before_bytes"]
        }
        assert changes["1.8"][1] > 1.5 * changes["1.8"][0]
        # Never 0, however small.
        assert re.search(r'<td class="n">(&lt; 0\.000001|0\.\d{6})</td>', server.page("test", **OF_TEST))
        notices = wait_for(lambda: server.json("worse"), lambda it: len(it) == len(changes), server)
        assert changes == {it["release"]: (it["before_bytes"], it["after_bytes"]) for it in notices}
        assert {(it["kind"], it["test"]) for it in notices} == {("larger", "holds")}
        larger = next(it for it in notices if it["release"] == "1.8")
        page = server.page("worse")
        assert "holds" in page and f'value="{larger["after_bytes"]}"' in page
        # A release that fails is told, again and again until somebody takes it.
        failing = tmp_path / "failing.toml"
        failing.write_text('name = "fails"\n[defaults]\nsandbox = "none"\n[[test]]\nname = "a"\nshell = "exit 3"\n')
        memsample("run", failing, "--out", tmp_path, "--name", "f", "--label", "release=9.9", "--push", lab, code=10)
        deliveries = [receiver.received.get(timeout=300)]
        while json.loads(deliveries[-1][1])["kind"] != "release_failed" or len(deliveries) < 3:
            deliveries.append(receiver.received.get(timeout=300))
        for headers, body in deliveries:
            told = json.loads(body)
            signature = "sha256=" + hmac.new(b"of the lab", body, hashlib.sha256).hexdigest()
            assert headers["x-memsample-signature"] == signature
            assert headers["x-memsample-delivery"] == told["id"]
            assert told["url"].startswith("https://lab.example.org/memory/"), told
            assert told["text"].endswith(told["url"])
        told = json.loads(deliveries[-1][1])
        assert (told["release"], told["failed"], told["runs"]) == ("9.9", 1, 1)
        status = server.wait(lambda it: it["webhook"]["waiting"] == 0)["webhook"]
        assert status["problem"] is None and status["sent"] >= 1
        sent = status["sent"]
    # A server that begins again tells nothing twice, and its index made anew neither.
    with Server(lab, tmp_path / "index", *options) as server:
        server.wait_for_runs(17)
        assert server.json("status")["webhook"] == {"waiting": 0, "sent": 0, "given_up": 0, "problem": None}
        assert len(server.json("worse")) == len(notices) + 1
        assert sent >= 1 and receiver.received.empty()


def test_a_webhook_that_is_not_there_says_so_and_not_where(runs, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", runs[0], lab)
    hook = webhook_file(tmp_path, "http://127.0.0.1:9/with-a-secret")
    with Server(lab, tmp_path / "index", "--webhook-file", hook) as server:
        server.wait_for_runs(1)
        failing = tmp_path / "failing.toml"
        failing.write_text('name = "fails"\n[defaults]\nsandbox = "none"\n[[test]]\nname = "a"\nshell = "exit 3"\n')
        memsample("run", failing, "--out", tmp_path, "--name", "f", "--label", "release=9.9", "--push", lab, code=10)
        status = server.wait(lambda it: it["webhook"]["problem"])["webhook"]
        assert status["waiting"] == 1
        assert "refused" in status["problem"].lower() and "secret" not in status["problem"]
    for text, reason in [("ftp://x/\n", "an address"), ("", "an address"), ("http://x/\na\nb\n", "no more")]:
        hook.write_text(text)
        assert reason in memsample("serve", "--runs", lab, "--webhook-file", hook, code=1).stderr
    hook.chmod(0o644)
    assert "chmod 600" in memsample("serve", "--runs", lab, "--webhook-file", hook, code=1).stderr


def test_the_feed_is_atom(runs, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *runs, lab)
    with Server(lab, tmp_path / "index", "--prefix", "/memory") as server:
        server.wait_for_runs(16)
        notices = wait_for(lambda: server.json("worse"), lambda it: it, server)
        answer, body = server.get("feed.atom")
        assert answer.getheader("Content-Type").startswith("application/atom+xml")
        feed = ElementTree.fromstring(body)
        assert feed.tag == "{http://www.w3.org/2005/Atom}feed"
        for needed in ["id", "title", "updated", "author/a:name"]:
            assert feed.findtext(f"a:{needed}", namespaces=ATOM), needed
        entries = feed.findall("a:entry", ATOM)
        assert [it.findtext("a:id", namespaces=ATOM).rsplit(":")[-1] for it in entries] == [it["id"] for it in notices]
        entry = entries[0]
        assert "holds" in entry.findtext("a:title", namespaces=ATOM)
        assert entry.findtext("a:id", namespaces=ATOM).startswith("urn:memsample:notice:")
        link = entry.find("a:link", ATOM).get("href")
        assert link.startswith("/memory/test?")
        # It leads to a page.
        assert server.get(link.removeprefix("/memory/"))[0].status == 200
        assert not ElementTree.fromstring(server.get("feed.atom", project="none")[1]).findall("a:entry", ATOM)


def test_badges_are_pictures(runs, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *runs[:2], lab)
    with Server(lab, tmp_path / "index") as server:
        server.wait_for_runs(2)
        known = server.json("test", **OF_TEST)["points"][-1]["bytes"]
        for query, expected in [
            ({"project": "default", "suite": "grows"}, "grows: passed"),
            ({"project": "default", "release": "1.1"}, "1.1: passed"),
            ({"project": "default", "suite": "grows", "label": "<b>&"}, "<b>&: passed"),
            (OF_TEST, f"holds: {known / 2**20:.1f} MiB"),
        ]:
            answer, body = server.get("badge.svg", **query)
            assert answer.status == 200 and answer.getheader("Content-Type").startswith("image/svg+xml")
            picture = ElementTree.fromstring(body)
            assert picture.findtext("{http://www.w3.org/2000/svg}title") == expected
        assert server.get("badge.svg", project="default")[0].status == 400
        assert server.get("badge.svg", project="default", suite="none")[0].status == 404
        assert server.get("badge.svg", project="default", release="none")[0].status == 404


def test_a_release_is_begun_and_closed(runs, tokens, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *runs[:2], lab)
    read = {"Authorization": f"Bearer {READ}"}

    def releases(server):
        return {it["release"]: it for it in json.loads(server.get("api/v1/releases", headers=read)[1])}

    with (
        Server(lab, tmp_path / "index", "--token-file", tokens) as server,
        Server(lab, tmp_path / "other", "--token-file", tokens) as other,
    ):
        begun = post(server, step("begin"))
        assert (begun["verdict"], begun["runs"], begun["closed_ms"]) == ("open", 0, None)
        assert post(server, step("begin")) == begun
        # Another server of the same store knows it soon.
        wait_for(lambda: releases(other), lambda it: "2.0" in it, other)
        assert releases(other)["2.0"] == begun == releases(server)["2.0"]
        suite = runs[0].parent / "suite.toml"
        memsample("run", suite, "--out", tmp_path, "--name", "z", "--label", "release=2.0", "--push", lab)
        wait_for(lambda: releases(server)["2.0"], lambda it: it["runs"] == 1, server)
        assert releases(server)["2.0"]["verdict"] == "open"
        closed = post(server, step("close"))
        assert (closed["verdict"], closed["runs"]) == ("passed", 1) and closed["closed_ms"]
        assert post(other, step("close"))["closed_ms"] == closed["closed_ms"]
        assert post(server, step("close", release="3.0"))["verdict"] == "not_run"
        page = server.get("", headers=read)[1]
        assert "closed without a run" in page
        # Who may not, and what is none.
        post(server, step("begin"), token=None, status=401)
        post(server, step("begin"), token=READ, status=403)
        post(server, step("begin"), headers={"Content-Type": "text/plain"}, status=400)
        for wrong in [b"", b"{}", b"[]", b"\xff", step("prune"), step("begin", release=""), step("begin", project="a\nb"),
                      step("begin", release="ü" * 201), step("begin")[:-1] + ', "more": 1}']:
            assert post(server, wrong, status=400)["error"]
        post(server, b" " * 100_000, status=413)
        assert set(releases(server)) == {"1.0", "1.1", "2.0", "3.0"}
    # What is damaged in the store keeps nothing else out.
    (first,) = lab.glob("releases/*/release=2.0/begun.json")
    first.write_text("{")
    (lab / "releases" / "odd").write_text("odd")
    with Server(lab, tmp_path / "anew", "--token-file", tokens) as server:
        wait_for(lambda: releases(server), lambda it: len(it) == 4, server)
    # A store that cannot be written, or that is not there.
    lab.rename(tmp_path / "elsewhere")
    # The other commands do not mind them.
    memsample("verify", tmp_path / "elsewhere")
    memsample("prune", tmp_path / "elsewhere", "--run", "none", code=1)


@pytest.fixture
def daemon(tmp_path):
    program = os.environ.get("MEMSAMPLED", str(Path(MEMSAMPLE).with_name("memsampled")))
    socket = tmp_path / "socket"
    process = subprocess.Popen([program, "--socket", socket, "--recordings", tmp_path / "recordings"])
    end = time.monotonic() + 300
    while not socket.exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    yield socket
    process.terminate()
    assert process.wait(timeout=120) == 0


def test_slow_a_session_is_seen_while_it_goes_on_in_a_browser(runs, daemon, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *runs[:2], lab)
    with Server(lab, tmp_path / "index") as server:
        assert server.json("live") == {"sessions": None}
        assert "--daemon" in server.page("live")
    with Server(lab, tmp_path / "index", "--daemon", daemon) as server:
        server.wait_for_runs(2)
        assert server.json("live") == {"sessions": []}
        session = memsample("start", "--name", "now", "--socket", daemon, code=0).stdout.strip()
        (live,) = server.json("live")["sessions"]
        assert (live["id"], live["state"]) == (session, "recording")
        assert session in server.page("live")
        for wrong in ["none", "../../v1/sessions", ""]:
            assert server.get("live/events", session=wrong)[0].status == 404
        query = urllib.parse.urlencode({"session": session})
        command = ["node", BROWSER / "live.mjs", server.base, f"live?{query}", "hold", tmp_path]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert ended.returncode == 0, ended.stderr
        seen = json.loads(ended.stdout)
        assert seen["console"] == [] and seen["foreign"] == [] and seen["found"] == []
        assert "processes have resident sets of" in seen["state"]
        assert seen["captions"] == ["Largest roles", "Largest processes"]
        assert seen["names"][0].startswith("holds") and "/test?" in seen["chosen"]
        # A stream that goes on keeps the server from nothing.
        connection = server.connect()
        connection.request("GET", f"{server.address.path}live/events?{query}")
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == "text/event-stream" and answer.readline()
        memsample("stop", session, "--socket", daemon)
        assert b"event: ended" in answer.read()
        second = memsample("start", "--socket", daemon).stdout.strip()
        connection = server.connect()
        connection.request("GET", f"{server.address.path}live/events?session={second}")
        assert connection.getresponse().readline()
    # The server ended though a session goes on and somebody looks at it.
    memsample("stop", second, "--socket", daemon)


def test_the_fleet_is_shown_as_it_says_of_itself(runs, tmp_path):
    lab, board = tmp_path / "lab", tmp_path / "board.json"
    memsample("push", runs[0], lab)
    worker = {
        "worker": "a<b", "state": "busy", "labels": ["x86_64", "image=1"], "memsample_version": "0.1.0",
        "free_bytes": 1 << 30, "run_id": "r-1", "seen_s": 1.5, "note": None, "of_a_later_version": 1,
    }  # fmt: skip
    fleet = {
        "format": 1, "workers": [worker],
        "queues": [{"labels": ["arm"], "waiting": 3, "running": 0, "workers": 0}],
        "running": [{"run_id": "r-1", "suite": "nightly", "worker": "a<b", "attempt": 1, "tests": 9, "tests_ended": 4,
                     "duration_s": 61.0}],
        "jobs": [{"job_id": "j-1", "suite": "nightly", "labels": [], "state": "1 running", "age_s": 62.0}],
    }  # fmt: skip
    with Server(lab, tmp_path / "index") as server:
        assert "memsample-fleet board" in server.page("fleet") and server.json("fleet") == {"fleet": None}
    with Server(lab, tmp_path / "index", "--fleet", board) as server:
        assert "cannot be read" in server.page("fleet", status=503)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        board.write_text(json.dumps({**fleet, "at": now}))
        page = server.page("fleet")
        for text in ["a&lt;b", "x86_64 image=1", "4 of 9", "none", "1 running"]:
            assert text in page, text
        assert "not what is now" not in page
        assert server.json("fleet")["fleet"]["queues"] == fleet["queues"]
        board.write_text(json.dumps({**fleet, "at": "2020-01-01T00:00:00Z"}))
        assert "not what is now" in server.page("fleet")
        for wrong in ["", "{", "[]", json.dumps({**fleet, "at": now, "format": 2}), json.dumps({"format": 1})]:
            board.write_text(wrong)
            assert server.json("fleet", status=503)["error"]


def test_a_daemon_that_is_not_there_is_said(runs, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", runs[0], lab)
    with Server(lab, tmp_path / "index", "--daemon", tmp_path / "none") as server:
        assert "does not answer" in server.json("live", status=502)["error"]
        assert "does not answer" in server.page("live", status=502)
        assert server.page("runs")
