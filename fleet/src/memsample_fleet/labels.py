"""Labels of workers and jobs, and the queues that they mean.

AMQP cannot match "all of these labels": a job goes to the queue named after its labels, and a worker takes
the queue of each subset of its own.
"""

import itertools
import re
from collections.abc import Iterable

from memsample_fleet.errors import FleetError

MOST = 5
"""The most labels of a worker, and so of a job: each doubles the number of queues of the worker."""

PREFIX = "memsample-fleet"
"""The queue of jobs that any worker may take, and the beginning of all others."""

_LABEL = re.compile(r"[a-z0-9][a-z0-9_.=-]{0,39}")


def normalize(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels in lower case, sorted, each once; a label that is not one, or too many, is an error."""
    normal = sorted({label.strip().lower() for label in labels})
    for label in normal:
        if not _LABEL.fullmatch(label):
            raise FleetError(
                f"`{label}` is no label: write 1 to 40 of a-z, 0-9, `_`, `.`, `=` and `-`, beginning with a letter "
                "or digit"
            )
    if len(normal) > MOST:
        raise FleetError(f"{len(normal)} labels ({' '.join(normal)}): at most {MOST} are possible; leave some out")
    return tuple(normal)


def queue_of(labels: Iterable[str]) -> str:
    """Return the name of the queue for jobs that ask for these labels."""
    return ":".join((PREFIX, *normalize(labels)))


def queues_of(labels: Iterable[str]) -> list[str]:
    """Return the names of the queues of a worker with these labels: one for each subset, at most 32."""
    normal = normalize(labels)
    return [
        ":".join((PREFIX, *subset))
        for size in range(len(normal) + 1)
        for subset in itertools.combinations(normal, size)
    ]
