"""What a store of many runs costs: pushing them, compacting them, and one query over all of them.

Usage: benches/lab.py MEMSAMPLE [RUNS [RECORDING]]. MEMSAMPLE is a release build with the feature `lab`. RUNS are at
least 100, which `serve --compact` waits for. RECORDING is one that is pushed by itself, such as one of an hour. Needs the
packages of notebooks/requirements.txt and the Python package. The server of S3 is moto, in Python and on this machine: its
time is part of each figure. With AWS_ENDPOINT_URL it is the one there, with the keys of AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, where it makes the bucket `lab`.
"""

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import boto3
import duckdb
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
from memsample import read_store
from moto.server import ThreadedMotoServer

COLUMNS = ["release", "test", "rss_peak_bytes"]
TESTS = 100
RELEASES = 50
QUERY = "SELECT release, test, max(rss_peak_bytes) FROM tests GROUP BY ALL"


def run(*command, **options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, **options)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def clone(run_directory, copy, release):
    """A copy of a run that is a run of its own. All files but two are links to those of the first one."""
    shutil.copytree(run_directory, copy, copy_function=os.link)
    results = json.loads((copy / "results.json").read_text())
    results["labels"]["release"] = release
    recording = json.loads((copy / "recording/recording.json").read_text())
    recording["id"] = str(uuid.uuid4())
    for path, content in [("results.json", results), ("recording/recording.json", recording)]:
        (copy / path).unlink()
        (copy / path).write_text(json.dumps(content))


def first_run(memsample, work):
    """A run of TESTS tests, of which others are made."""
    suite = ['name = "bench"', "[defaults]", 'sandbox = "none"']
    suite += [f'[[test]]\nname = "test_{number}"\ncommand = ["true"]' for number in range(TESTS)]
    (work / "suite.toml").write_text("\n".join(suite))
    run(memsample, "run", work / "suite.toml", "--out", work, "--name", "first", stderr=subprocess.DEVNULL)
    return work / "first"


def main():
    memsample, runs = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    work = Path(tempfile.mkdtemp())
    first = first_run(memsample, work)
    for number in range(runs):
        clone(first, work / "runs" / f"run-{number:04}", f"1.{number % RELEASES}")

    endpoint, server, kind = os.environ.get("AWS_ENDPOINT_URL"), None, "S3"
    key, secret = (os.environ.get(name, "none") for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    if not endpoint:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        endpoint, kind = f"http://{host}:{port}", "S3 (moto)"
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket="lab")
    filesystem = pyarrow.fs.S3FileSystem(
        access_key=key, secret_key=secret, endpoint_override=endpoint, region="us-east-1"
    )
    directories = sorted((work / "runs").iterdir())
    objects = sum(1 for path in directories[0].rglob("*") if path.is_file() and path.stat().st_size) + 4

    def query(place, filesystem):
        began = time.perf_counter()
        place = f"{place}/tables/tests"
        tests = pyarrow.dataset.dataset(place, filesystem=filesystem)
        tests = tests.to_table(columns=COLUMNS)
        rows = duckdb.sql(QUERY).fetchall()
        assert len(rows) == RELEASES * TESTS, len(rows)
        return time.perf_counter() - began

    def query_by_client(store):
        os.environ.update(environment)
        began, cpu = time.perf_counter(), time.process_time()
        tests = read_store(store, "tests", COLUMNS)
        rows = duckdb.sql(QUERY).fetchall()
        assert len(rows) == RELEASES * TESTS and len(tests) == runs * TESTS, len(rows)
        return time.perf_counter() - began, time.process_time() - cpu

    load = os.getloadavg()[0]
    print(f"load {load:.1f} at the begin; {runs} runs of {TESTS} tests, {objects} objects each")
    for name, store, place, files, options in [
        ("directory", work / "lab", str(work / "lab"), None, {}),
        (kind, "s3://lab/m", "lab/m", filesystem, {"env": environment}),
    ]:
        if len(sys.argv) > 3:
            recording = Path(sys.argv[3])
            size = sum(path.stat().st_size for path in recording.iterdir())
            seconds, cpu = run(memsample, "push", recording, store, "--project", "hour", **options)
            rate = size / seconds / 1e6
            print(f"{name}: push {size / 1e6:.1f} MB in {seconds:.2f} s, {cpu:.2f} s of CPU, {rate:.0f} MB/s")
        seconds, cpu = run(memsample, "push", *directories, store, **options)
        print(f"{name}: push {seconds:.1f} s, {cpu:.1f} s of CPU, {1000 * seconds / runs:.0f} ms a run")
        print(f"{name}: query {min(query(place, files) for _ in range(3)):.2f} s, best of 3")
        best = min(query_by_client(store) for _ in range(3))
        print(f"{name}: query by `memsample.read_store` {best[0]:.2f} s, {best[1]:.2f} s of CPU, best of 3")
        if not files:
            began = time.perf_counter()
            glob = f"read_parquet('{place}/tables/tests/**/*.parquet')"
            duckdb.sql(QUERY.replace("FROM tests", f"FROM {glob}")).fetchall()
            print(f"{name}: the same by a glob of DuckDB {time.perf_counter() - began:.2f} s")
        seconds, cpu = run(memsample, "list", store, **options)
        print(f"{name}: list {seconds:.2f} s")
        if files:
            # By a server, to which nobody says that there is something to do.
            command = [
                memsample,
                "serve",
                "--runs",
                store,
                "--compact",
                "--listen",
                "127.0.0.1:0",
                "--index",
                work / "index",
            ]
            began = time.perf_counter()
            serving = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, **options)
            client = boto3.client("s3", endpoint_url=endpoint, **keys)

            def keys_below(prefix):
                return client.list_objects_v2(Bucket="lab", Prefix=prefix, MaxKeys=1)["KeyCount"]

            while not keys_below("m/locks/"):
                time.sleep(0.1)
            while keys_below("m/locks/"):
                time.sleep(0.1)
            print(f"{name}: compacted {time.perf_counter() - began:.1f} s after `serve --compact` began")
            serving.terminate()
            serving.wait()
        else:
            seconds, cpu = run(memsample, "compact", store, "--before", "2100-01-01", **options)
            print(f"{name}: compact {seconds:.1f} s, {cpu:.1f} s of CPU")
        print(f"{name}: query {min(query(place, files) for _ in range(3)):.2f} s when compacted, best of 3")
    if server:
        server.stop()
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
