"""The dashboard of a store: its numbers are those of results.json, its pages need no script and nothing from elsewhere, and
what is wrong in the store, the index or a request is said.

MEMSAMPLE names the program, built with the feature `lab`. Slow: a minute.
"""

import base64
import html
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

import pytest
from lab_runs import MEMSAMPLE, free_port, make_runs, memsample

BROWSER = Path(__file__).parents[2] / "memsampled/report/tests/browser"
SUITE = "nightly ü/=1"
OF_SUITE = {"project": "default", "suite": SUITE}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def lab(runs, tmp_path):
    memsample("push", *runs, tmp_path / "lab")
    return tmp_path / "lab"


class Server:
    """A server, while it is used in `with`."""

    def __init__(self, lab, index, *options, environment=None, program=None, cwd=None):
        command = [MEMSAMPLE, "serve", "--runs", lab, "--index", index, "--listen", "127.0.0.1:0", *options]
        command = program or command
        environment = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd)
        # What it tells of its index may come before.
        line = next((line for line in self.process.stderr if line.startswith("serving ")), None)
        assert line, "it does not serve"
        self.base = line.split(" on ")[1].strip()
        self.address = urllib.parse.urlparse(self.base)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(timeout=120) == 0, self.process.stderr.read()

    def connect(self):
        return http.client.HTTPConnection(self.address.netloc, timeout=60)

    def get(self, path, headers=None, method="GET", **query):
        connection = self.connect()
        path = self.address.path + path + ("?" + urllib.parse.urlencode(query) if query else "")
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read().decode()

    def page(self, path, status=200, **query):
        answer, body = self.get(path, **query)
        assert answer.status == status, (path, answer.status, body)
        policy = answer.getheader("Content-Security-Policy")
        assert "default-src 'none'" in policy
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        return body

    def json(self, path, status=200, **query):
        return json.loads(self.page("api/v1/" + path, status=status, **query))

    def wait(self, is_done):
        """Asks for the status until it is as wanted."""
        end = time.monotonic() + 300
        while not is_done(status := self.json("status")):
            assert self.process.poll() is None and time.monotonic() < end, status
            time.sleep(0.05)
        return status

    def wait_for_runs(self, count):
        return self.wait(lambda status: status["runs"] == count and status["index"]["compared"])


@pytest.fixture
def server(lab, tmp_path):
    with Server(lab, tmp_path / "index") as server:
        server.wait_for_runs(3)
        yield server


def bounds(attempt):
    """The peak of an attempt and its upper bound, from results.json."""
    memory = attempt["memory"] or {}
    return memory.get("rss_peak_bytes"), memory.get("rss_peak_bytes_upper")


def test_the_numbers_are_those_of_the_results(runs, server):
    for release, run in [("1.0", runs[1]), ("1.1", runs[2])]:
        results = json.loads((run / "results.json").read_text())
        row = server.json("runs", release=release)[0]
        found = server.json("run", id=row["run"])
        assert found["outcome"] == results["outcome"] == "failed"
        assert found["tests_of_run"][0]["attempts"], found
        for test in results["tests"]:
            expected = [
                (it["repetition"], it["attempt"], it["outcome"], *bounds(it))
                for it in test["attempts"]
            ]
            of_test = next(it for it in found["tests_of_run"] if it["test"] == test["name"])
            shown = [
                (it["repetition"], it["attempt"], it["outcome"], it["rss_peak_bytes"], it["rss_peak_bytes_upper"])
                for it in of_test["attempts"]
            ]
            assert shown == expected
            peaks = [peak for peak, _ in map(bounds, test["attempts"]) if peak is not None]
            assert not peaks or f'value="{max(peaks)}"' in server.page("run", id=row["run"])
            history = server.json("test", test=test["name"], **OF_SUITE)
            assert [it["name"] for it in history["releases"]] == ["1.0", "1.1"]
            point = history["points"][["1.0", "1.1"].index(release)]
            if test["name"] != "holds":
                # It failed, and what a test had until then is no point of its history.
                assert point is None
                continue
            assert (point["smallest_bytes"], point["largest_bytes"]) == (min(peaks), max(peaks))
            assert point["repeats"] == len(peaks)
            for role in test["attempts"][0]["roles"]:
                of_role = server.json("test", test=test["name"], role=role["role"], **OF_SUITE)
                assert of_role["role"] == role["role"]
    assert [it["release"] for it in server.json("releases")] == ["1.1", "1.0"]
    assert server.json("hosts")[0]["runs"] == 3


def parts_of_tests(page):
    """The table of a comparison, and what it shows of each test."""
    return page[page.index('id="tests-heading"') : page.index('id="runs"')]


def test_a_comparison_has_the_numbers_of_the_command(runs, server, tmp_path):
    shown = server.json("compare", project="default", base="1.0", head="1.1")
    command = [MEMSAMPLE, "compare", "--base", runs[1], "--head", runs[2], "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    assert {**shown, "base": None, "head": None} == {**told, "base": None, "head": None}
    # The page has the parts of the command's own file, drawn from recordings that are in the store alone.
    html_file = tmp_path / "compared.html"
    subprocess.run([*command[:-1], "--html", html_file], capture_output=True, check=False)
    names = {str(run): row["run"] for run in runs for row in server.json("runs") if row["run"].startswith(run.name)}
    expected = parts_of_tests(html_file.read_text())
    for path, name in names.items():
        expected = expected.replace(path, name)
    assert expected.count("<svg") >= 3, expected
    for page in ["compare", "comparison"]:
        shown = parts_of_tests(server.page(page, project="default", base="1.0", head="1.1"))
        assert shown == expected
    assert "<script" in server.page("comparison", project="default", base="1.0", head="1.1")
    assert "No run" in server.page("compare", status=404, project="default", base="1.0", head="none")


def test_a_release_whose_runs_have_no_results_has_nothing_to_compare(lab, tmp_path):
    manifest = next(path for path in (lab / "manifests").rglob("*.json") if "run-1.1" in path.name)
    stored = json.loads(manifest.read_text())
    stored["files"] = [it for it in stored["files"] if it["path"] != "results.json"]
    manifest.write_text(json.dumps(stored))
    with Server(lab, tmp_path / "index") as server:
        server.wait_for_runs(3)
        said = server.page("compare", status=404, project="default", base="1.0", head="1.1")
        assert "nothing to compare in the release `1.1`: 0 of its 1 runs have" in said


def test_the_report_is_that_of_the_command(runs, server, tmp_path):
    run = server.json("runs", release="1.1")[0]["run"]
    memsample("report", runs[2], "-o", tmp_path / "report.html")
    answer, body = server.get("report", id=run)
    assert answer.status == 200
    assert "sandbox" in answer.getheader("Content-Security-Policy")
    assert body == (tmp_path / "report.html").read_text()


def test_names_are_text_and_are_found(server):
    page = server.page("suite", **OF_SUITE)
    assert "<b>fails" not in page and html.escape("<b>fails</b>", quote=False) in page
    assert [(it["kind"], it["text"]) for it in server.json("search", q="b>fai")] == [("test", "<b>fails</b>")]
    assert server.json("search", q="ho")[0]["text"] == "holds"
    assert server.json("search", q="1.1")[0]["kind"] == "release"
    for odd in ['"', "%", "_", "\\", "' OR 1=1 --", "a" * 5000, "\0", "ho\0lds", "ü/="]:
        server.json("search", q=odd)
    page = server.page("search", q="<script>alert(1)</script>")
    assert "<script>" not in page


def test_what_is_not_there_is_said(server):
    for page, query in [
        ("run", {"id": "../../etc/passwd"}),
        ("report", {"id": "none"}),
        ("test", {"test": "none", **OF_SUITE}),
        ("suite", {"suite": "none", "project": "default"}),
        ("nothing", {}),
        ("..%2f..%2fetc/passwd", {}),
    ]:
        assert "<h1>Not Found</h1>" in server.page(page, status=404, **query)
    assert "error" in server.json("run", status=404, id="none")
    for page, query in [
        ("test", {"test": "holds", "quantity": "rss_peak_bytes; DROP TABLE run", **OF_SUITE}),
        ("test", {"test": "holds"}),
        ("run", {}),
        ("runs", {"label": "no-equals-sign"}),
        ("runs", {"page": "9999999999999"}),
        ("releases", {"page": "0"}),
        ("compare", {"project": "default", "base": "1.0"}),
    ]:
        assert "must" in server.json(page, status=400, **query)["error"]
        if page != "releases":
            assert "<h1>Bad Request</h1>" in server.page(page, status=400, **query)
    # Without a token that may write nothing is written, and not even looked at.
    assert server.get("runs", method="POST")[0].status == 403
    assert server.get("runs", label="x" * 9000)[0].status == 414
    assert server.json("runs", page="2") == []


def test_a_pushed_and_a_pruned_run_are_seen(runs, lab, server):
    run = server.json("runs", release="1.0")[0]["run"]
    memsample("prune", lab, "--run", run)
    server.wait_for_runs(2)
    memsample("push", runs[1], lab)
    server.wait_for_runs(3)
    memsample("compact", lab, "--before", "2100-01-01")
    assert len(server.json("run", id=run)["tests_of_run"]) == 2
    server.page("report", id=run)


def test_an_index_is_made_anew_when_it_is_lost(lab, tmp_path):
    index = tmp_path / "index"
    with Server(lab, index) as server:
        server.wait_for_runs(3)
        expected = server.json("runs")
        # A second one on the same file.
        with Server(lab, index) as second:
            second.wait_for_runs(3)
            assert second.json("runs") == expected
    whole = index.read_bytes()
    for damaged in [b"", whole[: len(whole) // 2], whole[:5000] + b"\xff" * 5000 + whole[10000:]]:
        for other in tmp_path.glob("index*"):
            other.unlink()
        index.write_bytes(damaged)
        with Server(lab, index) as server:
            server.wait_for_runs(3)
            assert server.json("runs") == expected


def test_a_file_that_is_no_index_is_left_as_it_is(lab, tmp_path):
    (tmp_path / "thesis").write_text("no index")
    refused = memsample("serve", "--runs", lab, "--index", tmp_path / "thesis", code=1)
    assert "is no index of memsample" in refused.stderr
    assert (tmp_path / "thesis").read_text() == "no index"


def test_what_is_damaged_in_the_store_is_said(lab, tmp_path):
    manifests = sorted(lab.glob("manifests/**/*.json"))
    later = json.loads(manifests[1].read_text())
    manifests[1].write_text(json.dumps({**later, "format": 99}))
    other = json.loads(manifests[2].read_text())
    tests = lab / next(it["object"] for it in other["files"] if it.get("table") == "tests" and not it["path"])
    tests.write_bytes(tests.read_bytes()[:-1] + b"X")
    with Server(lab, tmp_path / "index") as server:
        status = server.wait_for_runs(1)
        assert len(status["damaged"]) == 2
        reasons = " ".join(it["reason"] for it in status["damaged"])
        assert "newer than this program reads" in reasons
        assert "not those that were pushed" in reasons
        assert "2 runs left out, which cannot be read" in server.page("")


def test_a_store_that_is_gone_is_said_and_what_was_known_is_shown(lab, tmp_path):
    with Server(lab, tmp_path / "index") as server:
        server.wait_for_runs(3)
        lab.rename(tmp_path / "elsewhere")
        server.wait(lambda status: status["index"]["problem"])
        assert len(server.json("runs")) == 3
        assert "What is shown may be old" in server.page("")


def test_a_full_disk_below_the_index_is_said_and_made_good_when_there_is_room(runs, tmp_path):
    disk, lab = tmp_path / "disk", tmp_path / "lab"
    disk.mkdir()
    memsample("push", runs[0], lab)
    mount = f"mount -t tmpfs -o size=1m none {disk} && exec {MEMSAMPLE} serve --runs {lab} --index {disk}/index"
    program = ["unshare", "--mount", "sh", "-c", f"{mount} --listen 127.0.0.1:0"]
    with Server(lab, None, program=program) as server:
        server.wait_for_runs(1)
        of_server = ["nsenter", "--target", str(server.process.pid), "--mount", "sh", "-c"]
        subprocess.run([*of_server, f"cat /dev/zero > {disk}/fill"], stderr=subprocess.DEVNULL, check=False)
        memsample("push", *runs[1:], lab)
        status = server.wait(lambda status: status["index"]["problem"])
        assert status["runs"] == 1 and "full" in status["index"]["problem"]
        assert "What is shown may be old" in server.page("runs")
        subprocess.run([*of_server, f"rm {disk}/fill"], check=True)
        # What was read while there was no room is written at the next look.
        server.wait(lambda status: status["runs"] == 3 and status["index"]["problem"] is None)


def test_tokens(lab, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("# of the lab\n0123456789abcdef\nfedcba9876543210 until 2999-01-01\nof-last-year-0123456789 until 2020-01-01\n")
    tokens.chmod(0o644)
    options = ["--runs", lab, "--index", tmp_path / "index"]
    refused = memsample("serve", *options, "--token-file", tokens, code=1)
    assert "chmod 600" in refused.stderr
    assert "--token-file" in memsample("serve", *options, "--listen", "0.0.0.0:0", code=1).stderr
    tokens.chmod(0o600)
    with Server(lab, tmp_path / "index", "--token-file", tokens) as server:
        basic = base64.b64encode(b"anybody:fedcba9876543210").decode()
        for value, status in [
            (None, 401),
            ("Bearer 0123456789abcdeX", 401),
            ("Bearer ", 401),
            ("Basic " + base64.b64encode(b"no colon").decode(), 401),
            ("Basic %%%", 401),
            ("Bearer of-last-year-0123456789", 401),
            ("Bearer 0123456789abcdef", 200),
            ("Basic " + basic, 200),
        ]:
            answer, body = server.get("", headers={"Authorization": value} if value else {})
            assert answer.status == status, value
            assert status == 200 or ("WWW-Authenticate" in answer.headers and "release" not in body)
            assert ("expired" in body) == (value == "Bearer of-last-year-0123456789")
    for wrong in ["short\n", "0123456789abcdef admin\n", "0123456789abcdef until tomorrow\n", "#\n", ""]:
        tokens.write_text(wrong)
        assert "16 printable" in memsample("serve", *options, "--token-file", tokens, code=1).stderr


def test_a_prefix_of_a_proxy_is_in_every_link(lab, tmp_path):
    with Server(lab, tmp_path / "index", "--prefix", "/of/memory/") as server:
        assert server.base.endswith("/of/memory/")
        server.wait_for_runs(3)
        for page in ["", "runs", "suites", "hosts"]:
            links = [it.split('"')[0] for it in server.page(page).split('href="')[1:]]
            assert all(link.startswith(("/of/memory/", "data:")) for link in links), links
        # A page of another server, to whose name somebody gave the address of this one.
        assert server.get("", headers={"Host": "elsewhere.example"})[0].status == 421
        for host in ["localhost:80", "[::1]", "127.0.0.1"]:
            assert server.get("", headers={"Host": host})[0].status == 200
        # A proxy may take the prefix away.
        connection = http.client.HTTPConnection(server.address.netloc)
        connection.request("GET", "/runs")
        assert connection.getresponse().status == 200


def test_directories_that_are_neither_are_refused(runs, tmp_path):
    refused = memsample("serve", "--runs", runs[0], code=1).stderr
    assert "is a single run or recording" in refused and str(runs[0]) in refused
    (tmp_path / "other/deeper").mkdir(parents=True)
    assert "neither a directory of runs nor a store" in memsample("serve", "--runs", tmp_path / "other", code=1).stderr
    assert "there is no directory" in memsample("serve", "--runs", tmp_path / "none", code=1).stderr
    for command in ["list", "verify"]:
        assert "memsample push" in memsample(command, runs[0].parent, code=1).stderr
        assert "memsample push" in memsample(command, runs[0], code=1).stderr


def tree(directory):
    """All that is in a directory, with what changes when it is written."""
    return {path: path.lstat().st_mtime_ns for path in directory.rglob("*")}


def test_runs_that_were_not_pushed_are_served_where_they_are(runs, lab, tmp_path):
    place = tmp_path / "here/runs"
    shutil.copytree(runs[0].parent, place, symlinks=True)
    (place / "damaged").mkdir()
    (place / "damaged/results.json").write_text("{")
    (place / "leads-out").symlink_to(runs[1])
    within = shutil.copytree(runs[1], place / "leads-out-within")
    shutil.rmtree(within / "recording")
    (within / "recording").symlink_to(runs[2] / "recording")
    unclosed = shutil.copytree(place / "plain", place / "unclosed")
    manifest = json.loads((unclosed / "recording.json").read_text())
    (unclosed / "recording.json").write_text(json.dumps({**manifest, "state": "recording"}))
    (unclosed / "journal").mkdir()
    before = tree(place)
    # Without --runs it is the directory into which `memsample run` writes.
    program = [MEMSAMPLE, "serve", "--index", tmp_path / "here.index", "--listen", "127.0.0.1:0"]
    with (
        Server(lab, tmp_path / "lab.index") as pushed,
        Server(None, None, program=program, cwd=place.parent) as server,
    ):
        pushed.wait_for_runs(3)
        status = server.wait_for_runs(3)
        damaged = sorted(it["reason"] for it in status["damaged"])
        assert len(damaged) == 2 and "links are not followed" in damaged[0] and "/damaged`" in damaged[1], damaged
        of_manifest = {"manifest", "bytes"}
        for row in pushed.json("runs"):
            here = server.json("run", id=row["run"])
            there = pushed.json("run", id=row["run"])
            assert here["bytes"] > 0
            assert {k: v for k, v in here.items() if k not in of_manifest} == {
                k: v for k, v in there.items() if k not in of_manifest
            }
            assert server.page("report", id=row["run"]) == pushed.page("report", id=row["run"])
        sides = {"project": "default", "base": "1.0", "head": "1.1"}
        assert server.json("compare", **sides) == pushed.json("compare", **sides)
        assert server.json("test", **OF_SUITE, test="holds") == pushed.json("test", **OF_SUITE, test="holds")
        # Nothing is written.
        assert tree(place) == before
        # What comes and what goes is seen at once, and not only each minute.
        shutil.copytree(place / "plain", place / "more")
        begin = time.monotonic()
        server.wait_for_runs(4)
        shutil.rmtree(place / "more")
        server.wait_for_runs(3)
        assert time.monotonic() - begin < 55
        # A store that somebody makes of it is not taken for runs.
        (place / "manifests").mkdir()
        assert "has become a store" in server.wait(lambda status: status["index"]["problem"])["index"]["problem"]


class DaemonWithDashboard:
    """A daemon that has its dashboard served, while it is used in `with`."""

    def __init__(self, directory, port, *options, configuration="", within=()):
        self.directory = directory
        (directory / "config.toml").write_text(configuration)
        self.token = directory / "token"
        self.token.write_text("of-the-daemon-0123456789\n")
        self.token.chmod(0o600)
        self.log = directory / "log"
        self.port = port
        options = ["--socket", "s", "--config", "config.toml", "--token-file", "token", *options]
        with self.log.open("w") as log:
            command = [*within, Path(MEMSAMPLE).with_name("memsampled"), *options]
            self.process = subprocess.Popen(command, cwd=directory, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(timeout=120) == 0, self.log.read_text()

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Authorization": "Bearer of-the-daemon-0123456789"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def json(self, path):
        """What is answered; None while that is an error."""
        status, body = self.get(path)
        return json.loads(body) if status == 200 else None

    def until(self, what):
        end = time.monotonic() + 300
        while True:
            try:
                if found := what():
                    return found
            except OSError:
                pass
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def dashboard(self):
        """The process of the dashboard."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = [int(pid) for children in children for pid in children.read_text().split()]
        return found[0] if found else None


def test_the_daemon_serves_the_dashboard_of_its_recordings_beside_it(tmp_path):
    port = free_port()
    with DaemonWithDashboard(tmp_path, port, "--recordings", "recordings", "--serve", f"127.0.0.1:{port}") as daemon:
        daemon.until(lambda: daemon.get("/")[0] == 200)
        pid = daemon.until(daemon.dashboard)
        # It yields to what samples, with the CPU and with memory, of which it locks none.
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        assert int(stat[16]) == 10 + os.nice(0)
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
        assert "VmLck:\t       0 kB" in Path(f"/proc/{pid}/status").read_text()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/")
        assert connection.getresponse().status == 401
        # A session goes on, ends, and is shown as what it is.
        started = memsample("start", "--socket", tmp_path / "s", "--name", "nightly", "--json").stdout
        session = json.loads(started)["id"]
        daemon.until(lambda: session in daemon.get("/api/v1/live")[1])
        assert daemon.json("/api/v1/runs") == []
        memsample("stop", "--socket", tmp_path / "s", session)
        rows = daemon.until(lambda: daemon.json("/api/v1/runs"))
        assert [row["run"].startswith(session) for row in rows] == [True]
        # One that is killed begins again, and the daemon has not noticed more than that.
        os.kill(pid, signal.SIGKILL)
        daemon.until(lambda: daemon.dashboard() not in (None, pid) and daemon.get("/")[0] == 200)
        assert "the dashboard ended (signal: 9" in daemon.log.read_text()
        last = daemon.until(daemon.dashboard)
    # It ends with the daemon.
    end = time.monotonic() + 120
    while Path(f"/proc/{last}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_dashboard_that_cannot_be_served_keeps_no_daemon_from_recording(lab, tmp_path):
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        configuration = f"[daemon]\nrecordings = 'r'\n[daemon.dashboard]\nlisten = '127.0.0.1:{port}'\nruns = '{lab}'\n"
        with DaemonWithDashboard(tmp_path, port, configuration=configuration) as daemon:
            daemon.until(lambda: "the dashboard ended (exit status: 1): it begins again" in daemon.log.read_text())
            assert "Address already in use" in daemon.log.read_text()
            memsample("start", "--socket", tmp_path / "s", "--name", "all-the-same")
            taken.close()
            # That of a store, as configured.
            daemon.until(lambda: len(daemon.json("/api/v1/runs") or []) == 3)


def test_the_daemon_refuses_a_dashboard_without_a_token(tmp_path):
    program = Path(MEMSAMPLE).with_name("memsampled")
    for options, reason in [
        (["--serve", "127.0.0.1:0"], "the dashboard needs a token"),
        (["--serve-runs", "runs"], "`--serve-runs` needs `--serve"),
    ]:
        command = [program, "--socket", "s", "--recordings", "r", *options]
        refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert refused.returncode == 2 and reason in refused.stderr, refused


def test_a_store_that_never_answers_keeps_no_page_waiting(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        with Server("s3://lab/memory", tmp_path / "index", environment=environment) as server:
            for path in ["", "suites", "runs", "hosts", "worse", "search?q=x", "api/v1/status"]:
                begin = time.monotonic()
                assert server.get(path)[0].status == 200
                # Far less than a request to a store may take.
                assert time.monotonic() - begin < 55, path
            assert server.json("status")["index"]["compared"] is None
            assert "not yet since this server began" in server.page("")


def test_a_run_from_the_future_is_not_the_last_one_for_years(lab, tmp_path):
    now = time.time()
    manifest = next(lab.glob("manifests/**/run=run-1.0-*.json"))
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "started": "2036-01-01T00:00:00Z"}))
    with Server(lab, tmp_path / "index") as server:
        server.wait_for_runs(3)
        rows = {row["release"]: row for row in server.json("runs")}
        future = rows["1.0"]
        # It began before it arrived, and what its machine said of that is told as such.
        assert future["told_started_ms"] == 2082758400000
        assert abs(future["started_ms"] / 1000 - now) < 60
        assert all("told_started_ms" not in row for release, row in rows.items() if release != "1.0")
        page = server.page("run", id=future["run"])
        assert "the clock of its machine was wrong" in page and "2036-01-01" in page


def test_releases_of_runs_that_were_not_pushed_are_not_begun(runs, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("may-write-0123456789 write\n")
    tokens.chmod(0o600)
    with Server(runs[0].parent, tmp_path / "index", "--token-file", tokens) as server:
        connection = server.connect()
        body = json.dumps({"project": "default", "release": "2.0", "action": "begin"})
        headers = {"Authorization": "Bearer may-write-0123456789", "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/releases", body, headers)
        answer = connection.getresponse()
        assert answer.status == 403 and b"is only read" in answer.read()


def test_slow_every_page_in_a_browser(server, tmp_path):
    run = server.json("runs", release="1.1")[0]["run"]
    query = urllib.parse.urlencode
    pages = [
        "",
        "suites",
        "suite?" + query(OF_SUITE),
        "runs",
        "run?" + query({"id": run}),
        "test?" + query({"test": "holds", **OF_SUITE}),
        "hosts",
        "worse",
        "live",
        "fleet",
        "search?q=holds",
        "compare?" + query({"project": "default", "base": "1.0", "head": "1.1"}),
        "comparison?" + query({"project": "default", "base": "1.0", "head": "1.1"}),
        "report?" + query({"id": run}),
        "runs?release=none",
    ]
    command = ["node", BROWSER / "pages.mjs", server.base, tmp_path, *pages]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, ended.stderr
    for seen in json.loads(ended.stdout):
        where = (seen["path"], seen["view"])
        assert (seen["console"], seen["foreign"], seen["found"], seen["wide"]) == ([], [], [], False), where
        assert seen["focused"] == "A", where
        assert seen["text"], where
