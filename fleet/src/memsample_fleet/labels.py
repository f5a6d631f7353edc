"""Labels of workers and jobs, and the queues that they mean.

AMQP cannot match "all of these labels": a job goes to the queue named after its labels, and a worker takes
the queue of each subset of its own. `@NAME` asks for one worker by its name.
"""

import itertools
import re
from collections.abc import Iterable

from memsample_fleet.errors import FleetError

MOST = 5
"""The most labels of a worker, and so of a job: each doubles the number of queues of the worker."""

PREFIX = "memsample-fleet"
"""The queue of jobs that any worker may take, and the beginning of all others."""

_WORD = "write 1 to 40 of a-z, 0-9, `_`, `.`, `=` and `-`, beginning with a letter or digit"
_LABEL = re.compile(r"[a-z0-9][a-z0-9_.=-]{0,39}")


def normalize(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels in lower case, sorted, each once; a label that is not one, or too many, is an error."""
    normal = sorted({label.strip().lower() for label in labels})
    for label in normal:
        if not _LABEL.fullmatch(label.removeprefix("@")):
            raise FleetError(f"`{label}` is no label: {_WORD}")
    if len(normal) > 1 and normal[0].startswith("@"):
        raise FleetError(f"`{normal[0]}` names one worker: further labels say nothing; leave them out")
    if len(normal) > MOST:
        raise FleetError(f"{len(normal)} labels ({' '.join(normal)}): at most {MOST} are possible; leave some out")
    return tuple(normal)


def checked_name(name: str) -> str:
    """Return the name of a worker, which is a label too."""
    if not _LABEL.fullmatch(name):
        raise FleetError(f"`{name}` cannot be the name of a worker: {_WORD}; set `name`")
    return name


def queue_of(labels: Iterable[str]) -> str:
    """Return the name of the queue for jobs that ask for these labels."""
    return ":".join((PREFIX, *normalize(labels)))


def matches(asked: Iterable[str], name: str, have: Iterable[str]) -> bool:
    """Whether a worker of this name with these labels takes jobs that ask for labels."""
    return set(asked) <= {*have, f"@{name}"}


def queues_of(labels: Iterable[str], name: str) -> list[str]:
    """Return the names of the queues of a worker: one for each subset of its labels, at most 32, and its own."""
    normal = normalize(labels)
    if normal and normal[0].startswith("@"):
        raise FleetError(f"`{normal[0]}` cannot be a label of a worker: it takes jobs for its `name` anyway")
    return [queue_of([f"@{name}"])] + [
        ":".join((PREFIX, *subset))
        for size in range(len(normal) + 1)
        for subset in itertools.combinations(normal, size)
    ]
