"""The daemon serves its dashboard under what its unit for systemd allows: the filter of system calls, the capabilities, the
priority.

MEMSAMPLE names the program, built with the feature `lab`; the daemon is beside it.
"""

import json
import sys
from pathlib import Path

import pytest
from lab_runs import free_port, memsample
from test_dashboard import DaemonWithDashboard

HERE = Path(__file__).parent
UNIT = HERE.parents[1] / "memsampled/systemd/memsampled.service"
# Bits of CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_IPC_LOCK and CAP_SYS_PTRACE.
KEPT = 1 << 0 | 1 << 2 | 1 << 12 | 1 << 14 | 1 << 19


def nice_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[16])


def status_of(pid, key):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(key + ":"))


@pytest.mark.parametrize("filter", ["of the unit", "without setpriority"])
def test_the_daemon_serves_its_dashboard_as_a_service(filter, tmp_path):
    unit = UNIT
    if filter == "without setpriority":
        # As where somebody made it stricter.
        unit = tmp_path / "strict.service"
        unit.write_text(UNIT.read_text().replace("prlimit64 setpriority", "prlimit64"))
    port = free_port()
    options = ["--recordings", "recordings", "--serve", f"127.0.0.1:{port}"]
    within = [sys.executable, HERE / "as_service.py", unit]
    with DaemonWithDashboard(tmp_path, port, *options, within=within) as daemon:
        daemon.until(lambda: daemon.get("/")[0] == 200)
        pid, own = daemon.until(daemon.dashboard), daemon.process.pid
        for process in [pid, own]:
            assert status_of(process, "Seccomp") == "2"
            assert status_of(process, "NoNewPrivs") == "1"
            assert int(status_of(process, "CapBnd"), 16) & ~KEPT == 0
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
        log = daemon.log.read_text()
        if filter == "of the unit":
            assert nice_of(pid) == nice_of(own) + 10
            assert "priority" not in log
        else:
            # It is served all the same, and says what it may not.
            assert nice_of(pid) == nice_of(own)
            assert "the dashboard has the priority of the daemon" in log
        session = json.loads(memsample("start", "--socket", tmp_path / "s", "--name", "nightly", "--json").stdout)["id"]
        daemon.until(lambda: session in daemon.get("/api/v1/live")[1])
        memsample("stop", "--socket", tmp_path / "s", session)
        (run,) = daemon.until(lambda: daemon.json("/api/v1/runs"))
        status, report = daemon.get(f"/report?id={run['run']}")
        assert status == 200 and "<svg" in report
