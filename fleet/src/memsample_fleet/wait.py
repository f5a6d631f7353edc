"""Waiting for a job: its progress, and its exit code."""

import contextlib
import sys
import time
from typing import Any

import psycopg

from memsample_fleet import claims, jobs, text
from memsample_fleet.config import Config
from memsample_fleet.database import connect, reason
from memsample_fleet.errors import FleetError

_POLL_S = 0.2
_DATABASE_PATIENCE_S = 600.0


def wait(config: Config, *job_ids: str) -> list[dict[str, Any]]:
    """Show the progress of jobs on stderr until their runs have ended; returns them."""
    told: set[str] = set()
    seen: dict[str, Any] = {}
    live = sys.stderr.isatty()
    patience: float | None = None
    connection = None
    while True:
        try:
            connection = connection or connect(config, check=False)
            runs = jobs.runs(connection, job_ids)
            patience = None
        except (psycopg.Error, FleetError) as error:
            # A job that is gone is no broken connection.
            if isinstance(error, FleetError) and connection is not None:
                raise
            if patience is None:
                text.err(f"the database is away, and is waited for: {reason(error)}")
                patience = time.monotonic() + _DATABASE_PATIENCE_S
            elif time.monotonic() > patience:
                raise FleetError(f"the database is away; {' and '.join(job_ids)} goes on: {reason(error)}") from None
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.close()
            connection = None
            time.sleep(1)
            continue
        for run in runs:
            _tell(run, told, seen, live)
        if all(run["state"] == "ended" for run in runs):
            connection.close()
            return runs
        if live:
            sys.stderr.write("\r\x1b[K" + summary(runs)[:79])
            sys.stderr.flush()
        time.sleep(_POLL_S)


def _tell(run: dict[str, Any], told: set[str], seen: dict[str, Any], live: bool) -> None:
    clear = "\r\x1b[K" if live else ""
    run_id = run["run_id"]
    if run["state"] == "ended":
        if run_id not in told:
            told.add(run_id)
            line = f"{run['outcome']:>12} {text.duration(run['duration_s']):>9}  {run_id}"
            line += f" on {run['worker']}" if run["worker"] else ""
            text.err(clear + line + (f": {run['message']}" if run["message"] else ""))
            for test in (run["not_passed"] or [])[:20]:
                why = f": {test['message']}" if test["message"] else ""
                text.err(f"{test['outcome']:>24}  {test['test']}{why}")
    elif seen.get(run_id) != (now := (run["state"], run["worker"], run["note"])):
        seen[run_id] = now
        if run["note"]:
            text.err(f"{clear}{run['state']:>12} {'':>9}  {run_id}: {run['note']}")
        elif run["state"] != "waiting":
            text.err(f"{clear}{run['state']:>12} {'':>9}  {run_id} on {run['worker']}, attempt {run['attempts']}")


def summary(runs: list[dict[str, Any]]) -> str:
    """Return how many runs are in which state, and the tests of those that run."""
    states: dict[str, int] = {}
    for run in runs:
        states[run["state"]] = states.get(run["state"], 0) + 1
    parts = [f"{count} {state}" for state, count in states.items()]
    tests = sum(run["tests"] or 0 for run in runs if run["state"] == "running")
    if tests:
        parts.append(f"{sum(run['tests_ended'] for run in runs if run['state'] == 'running')} of {tests} tests")
    return ", ".join(parts)


def cancel(config: Config, job_id: str, patience_s: float = 90.0) -> bool:
    """Cancel a job and wait until nothing of it goes on; False if something does yet.

    What does not end within a minute is killed, or left to its device.
    """
    with connect(config, check=False) as connection:
        claims.cancel(connection, job_id)
        until = time.monotonic() + patience_s
        while any(run["state"] != "ended" for run in jobs.runs(connection, [job_id])):
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_S)
    return True
