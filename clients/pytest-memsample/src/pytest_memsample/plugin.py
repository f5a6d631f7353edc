"""The plugin: marks each test, and prints and stores what it used."""

import os
import warnings

import pytest

from .daemon import Daemon, DaemonError, default_socket
from .usage import MARK_PREFIX, UsageError, usage_by_test

SOCKET = "MEMSAMPLE_SOCKET"
SESSION = "MEMSAMPLE_SESSION"


def pytest_addoption(parser):
    group = parser.getgroup("memsample", "memory of every process (memsample)")
    record = {"dest": "memsample", "action": "store_const", "default": "off"}
    group.addoption("--memsample", const="on", help="record the memory of every process while the tests run", **record)
    # Options of their own: a value that may be left out would take the name of a test file for one.
    group.addoption("--memsample=auto", const="auto", help="the same if a daemon answers, else run the tests without", **record)
    group.addoption("--memsample=off", const="off", help="do not record, as without the option", **record)
    group.addoption("--memsample-interval", default="100ms", metavar="TIME", help="time between samples [100ms]")
    group.addoption("--memsample-top", default=10, type=int, metavar="N", help="how many tests to print [10]")
    group.addoption("--memsample-socket", metavar="PATH", help="socket of memsampled [$MEMSAMPLE_SOCKET or its default]")


def pytest_configure(config):
    is_worker = hasattr(config, "workerinput")
    # A worker of xdist has the options of its controller, and no session where that could start none.
    if config.getoption("memsample") == "off" or (is_worker and SESSION not in os.environ):
        return
    path = config.getoption("memsample_socket") or os.environ.get(SOCKET) or default_socket()
    daemon = Daemon(path)
    if is_worker:
        config.pluginmanager.register(Marker(daemon, os.environ[SESSION]), "memsample-marker")
        return
    try:
        recording = Recording(config, daemon)
    except DaemonError as error:
        if config.getoption("memsample") != "auto":
            raise pytest.UsageError(f"--memsample: {error}") from error
        config.pluginmanager.register(NotRecorded(error), "memsample-not-recorded")
        return
    config.pluginmanager.register(recording, "memsample-recording")
    # With xdist the controller runs no test itself, and its workers inherit the environment.
    if not config.getoption("numprocesses", None):
        config.pluginmanager.register(Marker(daemon, recording.session), "memsample-marker")


class Marker:
    """Marks the tests that this process runs."""

    def __init__(self, daemon, session):
        self.daemon = daemon
        self.session = session
        self.failed = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self._mark("begin", item.nodeid)
        try:
            return (yield)
        finally:
            self._mark("end", item.nodeid)

    def _mark(self, kind, test):
        if self.failed:
            return
        try:
            # The pid is that of the process that runs the test now: a worker may have been forked.
            self.daemon.mark(self.session, kind, f"{MARK_PREFIX}{os.getpid()}", test)
        except DaemonError as error:
            # Tests continue without it: a recorder must never fail a test.
            self.failed = True
            warnings.warn(f"memsample: tests are no longer marked: {error}", stacklevel=1)


class NotRecorded:
    """Says why nothing is recorded, where that is no error."""

    def __init__(self, reason):
        self.reason = reason

    def pytest_report_header(self):
        return f"memsample: not recorded: {self.reason}"


class Recording:
    """Begins the session before the first test, and ends it behind the last."""

    def __init__(self, config, daemon):
        self.config = config
        self.daemon = daemon
        self.usages = []
        self.problem = None
        self.closing = None
        self.session = os.environ.get(SESSION)
        self.is_ours = self.session is None
        if self.is_ours:
            labels = {"framework": "pytest", "rootdir": str(config.rootpath)[:1024]}
            self.session = daemon.start(config.getoption("memsample_interval"), labels)["id"]
            os.environ[SESSION] = self.session
            os.environ[SOCKET] = daemon.path
            # Also when pytest ends before its tests: on a usage error, or Ctrl-C.
            config.add_cleanup(self._stop)

    def _stop(self):
        if self.is_ours and self.closing is None:
            os.environ.pop(SESSION, None)
            try:
                self.closing = self.daemon.stop(self.session)
            except DaemonError as error:
                self.closing = {"error": str(error)}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self):
        self._stop()
        if not self.closing or "recording" not in self.closing:
            return
        try:
            self.usages = usage_by_test(self.closing["recording"])
        except UsageError as error:
            self.problem = error
        junit = self._junit()
        for usage in self.usages if junit else []:
            for name in ("rss_peak_bytes", "rss_growth_bytes"):
                value = getattr(usage, name)
                if value is not None:
                    junit.add_global_property(f"memsample.{name}[{usage.test}]", value)
        if junit:
            junit.add_global_property("memsample.recording", self.closing["recording"])

    def _junit(self):
        from _pytest.junitxml import xml_key

        # What `record_testsuite_property` does, which is a fixture and so not to be had here.
        return self.config.stash.get(xml_key, None)

    def pytest_terminal_summary(self, terminalreporter):
        write = terminalreporter.write_line
        terminalreporter.section("memory (memsample)")
        if not self.is_ours:
            write(f"tests are marked in session {self.session}, which continues")
            return
        if "error" in self.closing:
            write(f"not recorded: {self.closing['error']}")
            return
        if self.problem:
            write(f"no numbers of tests: {self.problem}")
            write(f"recorded in {self.closing['recording']}")
            return
        sampled = [usage for usage in self.usages if usage.rss_peak_bytes is not None]
        sampled.sort(key=lambda usage: -usage.rss_peak_bytes)
        write(f"{'PEAK RSS':>12}  {'GROWTH':>12}  {'SAMPLES':>7}  TEST")
        for usage in sampled[: self.config.getoption("memsample_top")]:
            write(f"{_size(usage.rss_peak_bytes):>12}  {_size(usage.rss_growth_bytes, '+'):>12}  {usage.samples:>7}  {usage.test}")
        unsampled = len(self.usages) - len(sampled)
        if unsampled:
            write(f"{unsampled} of {len(self.usages)} tests have no numbers: the daemon could not read their process")
        workers = len({usage.worker_pid for usage in self.usages})
        write(f"{len(self.usages)} tests shared {workers} process{'es' if workers != 1 else ''}: a peak holds what earlier tests of the same process left, growth does not; both are of that process alone, without what a test starts")
        summary = self.closing["summary"]
        write(f"{summary['ticks']} ticks, {summary['late']} late, {summary['dropped']} dropped: {self.closing['recording']}")


def _size(size, sign=""):
    if size is None:
        return "-"
    return f"{size / (1 << 20):{sign}.1f} MiB"
