"""What the fleet adds to a suite, and how many jobs it takes: with a real broker, database and worker on this machine.

Usage: MEMSAMPLE=target/release/memsample .venv-fleet/bin/python benches/fleet.py, after `make fleet-package`. The servers are
those of Debian, as in the tests of the fleet. Each figure has its load beside it.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fleet/tests"))

from lab import STUBBORN, Lab
from memsample_fleet import archive, broker, claims, jobs
from memsample_fleet.config import Config
from memsample_fleet.database import connect
from servers import Postgres, Rabbit, eventually

JOBS = 20
SUBMITTERS, OF_EACH = 4, 50


def show(what, seconds):
    middle, most = statistics.median(seconds), max(seconds)
    print(f"{what}: {middle:.3f} s at the median of {len(seconds)}, {most:.3f} s at most; load {os.getloadavg()[0]:.1f}")


def ended(lab, job):
    eventually(f"{job} ends", lambda: jobs.runs(lab.connection, [job])[0]["state"] == "ended")


def first_test(lab, config):
    """From the insertion of a job to the first command of its first test, on an idle worker."""
    lab.worker("one")
    stamp = lab.directory / "stamp"
    packed = archive.pack(lab.suite("stamp", ("a", f"date +%s.%N >{stamp}", 'sandbox = "none"')))
    took = []
    with broker.Publisher(broker.application(config)) as publisher:
        for _ in range(JOBS):
            stamp.unlink(missing_ok=True)
            began = time.time()
            job = jobs.insert(lab.connection, packed, jobs.Wanted("stamp"))
            jobs.publish(lab.connection, publisher, job)
            ended(lab, job)
            took.append(float(stamp.read_text()) - began)
    show("from the submission to the first test", took)


def cancelled(lab):
    """From the word to cancel until the last process of a test that ignores signals is gone."""
    marker = f"5{os.getpid()}"
    suite = lab.suite("stubborn", ("a", STUBBORN.format(os.getpid()), 'sandbox = "none"'))
    took = []
    for _ in range(JOBS // 4):
        job = lab.do("submit", str(suite)).splitlines()[0]
        eventually("its processes run", lambda: len(lab.processes(f"sleep\0{marker}")) == 2)
        began = time.monotonic()
        claims.cancel(lab.connection, job)
        eventually("its processes end", lambda: not lab.processes(f"sleep\0{marker}"))
        took.append(time.monotonic() - began)
        ended(lab, job)
    show("from `cancel` to the end of the last process", took)


def accepted(lab, config):
    """Jobs a second from several submitters, each in the database and at the broker."""
    packed = archive.pack(lab.suite("tiny", ("a", "true", "")))
    barrier = threading.Barrier(SUBMITTERS + 1)

    def submit():
        with connect(config) as connection, broker.Publisher(broker.application(config)) as publisher:
            barrier.wait()
            for _ in range(OF_EACH):
                jobs.publish(connection, publisher, jobs.insert(connection, packed, jobs.Wanted("tiny")))

    submitters = [threading.Thread(target=submit) for _ in range(SUBMITTERS)]
    for submitter in submitters:
        submitter.start()
    barrier.wait()
    began = time.monotonic()
    for submitter in submitters:
        submitter.join()
    rate = SUBMITTERS * OF_EACH / (time.monotonic() - began)
    print(f"accepted from {SUBMITTERS} submitters: {rate:.0f} jobs a second; load {os.getloadavg()[0]:.1f}")


def main():
    with tempfile.TemporaryDirectory(prefix="fleet-", dir="/tmp") as directory:
        # PostgreSQL runs as a user of its own.
        os.chmod(directory, 0o755)
        place = Path(directory)
        postgres, rabbit = Postgres(place / "postgres"), Rabbit(place / "rabbit")
        try:
            postgres.start()
            rabbit.start()
            (place / "lab").mkdir()
            memsample = str(Path(os.environ["MEMSAMPLE"]).resolve())
            lab = Lab(place / "lab", rabbit.url, postgres.new_database("bench"), memsample)
            try:
                config = Config(broker=lab.broker, database=lab.database)
                first_test(lab, config)
                cancelled(lab)
                accepted(lab, config)
            finally:
                lab.close()
        finally:
            rabbit.close()
            postgres.close()


if __name__ == "__main__":
    main()
