"""The plugin: marks each test, and prints and stores what it used."""

import argparse
import os
import signal
import textwrap
import threading
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
    group.addoption("--memsample-top", default=10, type=_count, metavar="N", help="how many tests to print [10]")
    group.addoption("--memsample-idle", metavar="TIME", help="end the recording after this time without the begin or end of a test, as when pytest was killed [1h]")
    group.addoption("--memsample-socket", metavar="PATH", help="socket of memsampled [$MEMSAMPLE_SOCKET or its default]")


def _count(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is no number of tests: give 0 or more")
    return int(text)


def pytest_configure(config):
    # These run no test.
    if any(config.getoption(name, False) for name in ("help", "version", "collectonly", "markers", "showfixtures", "show_fixtures_per_test", "setupplan")):
        return
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
            with warnings.catch_warnings():
                # Also where warnings are errors of tests.
                warnings.simplefilter("always")
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
        self.path = None
        self.session = os.environ.get(SESSION)
        self.is_ours = self.session is None
        if self.is_ours:
            labels = {"framework": "pytest", "rootdir": str(config.rootpath)[:1024]}
            begun = daemon.start(config.getoption("memsample_interval"), labels, config.getoption("memsample_idle"))
            self.session, self.path = begun["id"], begun.get("recording")
            os.environ[SESSION] = self.session
            os.environ[SOCKET] = daemon.path
            # Also when pytest ends before its tests: on a usage error, or Ctrl-C.
            config.add_cleanup(self._stop)
            self._stop_when_terminated()

    def _stop(self):
        if self.is_ours and self.closing is None:
            os.environ.pop(SESSION, None)
            try:
                self.closing = self.daemon.stop(self.session)
            except DaemonError as error:
                self.closing = {"error": str(error)}

    def _stop_when_terminated(self):
        """Closes the recording at SIGTERM, by which CI ends a job and pytest ends without a cleanup."""
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        of_pytest = os.getpid()

        def terminate(number, _frame):
            signal.signal(number, signal.SIG_DFL)
            # Not in what a test forked. The connection may be in use.
            if os.getpid() == of_pytest and self.closing is None:
                self.daemon = Daemon(self.daemon.path)
                self._stop()
            os.kill(os.getpid(), number)

        def restore():
            if signal.getsignal(signal.SIGTERM) is terminate:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

        signal.signal(signal.SIGTERM, terminate)
        self.config.add_cleanup(restore)

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
            write(f"no numbers of tests: {self.closing['error']}")
            if self.path:
                write(f"what was recorded until then: memsample peaks {self.path} --by test")
            return
        if self.problem:
            write(f"no numbers of tests: {self.problem}")
            write(f"recorded in {self.closing['recording']}")
            return
        if not self.usages:
            write(f"no test ran while it was recorded: {self.closing['recording']}")
            return
        sampled = [usage for usage in self.usages if usage.rss_peak_bytes is not None]
        sampled.sort(key=lambda usage: -usage.rss_peak_bytes)
        write(f"{'PEAK RSS':>12}  {'GROWTH':>12}  {'SAMPLES':>7}  TEST")
        for usage in sampled[: self.config.getoption("memsample_top")]:
            # Nothing bounds what was between two samples.
            write(f"{'≥' + _size(usage.rss_peak_bytes):>12}  {_size(usage.rss_growth_bytes, '+'):>12}  {usage.samples:>7}  {usage.test}")
        unsampled = len(self.usages) - len(sampled)
        if unsampled:
            write(f"{unsampled} of {len(self.usages)} tests have no numbers: the daemon could not read their process")
        tests, workers = len(self.usages), len({usage.worker_pid for usage in self.usages})
        note = (
            f"{tests} test{'s' if tests != 1 else ''} shared {workers} process{'es' if workers != 1 else ''}: a peak (≥: at least) is of that process "
            "and what it started, with what earlier tests left in it. Growth is of that process alone, from the begin of the test to its end."
        )
        for line in textwrap.wrap(note, 80):
            write(line)
        summary = self.closing["summary"]
        write(f"{summary['ticks']} ticks, {summary['late']} late, {summary['dropped']} dropped: {self.closing['recording']}")


def _size(size, sign=""):
    if size is None:
        return "-"
    return f"{size / (1 << 20):{sign}.1f} MiB"
