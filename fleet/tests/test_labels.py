"""Labels and queues."""

import pytest

from memsample_fleet import jobs, labels
from memsample_fleet.errors import FleetError


def test_a_worker_takes_the_queue_of_each_job_that_it_can_run_and_no_other() -> None:
    have = ["x86_64", "Lab7", "gpu=igpu", "image-3", "fast"]
    queues = labels.queues_of(have, "lab-7")
    assert len(queues) == len(set(queues)) == 33
    assert labels.queue_of(["@lab-7"]) in queues
    assert labels.queue_of(["@lab-8"]) not in queues
    assert labels.queue_of(["lab-7"]) not in queues
    assert labels.queue_of([]) in queues
    assert labels.queue_of(["lab7", "X86_64"]) == labels.queue_of(["x86_64", "lab7", "lab7"]) in queues
    assert labels.queue_of(have) in queues
    assert labels.queue_of(["x86_64", "arm"]) not in queues


def test_the_longest_name_fits_into_the_255_bytes_of_a_queue() -> None:
    assert len(labels.queue_of([letter * 40 for letter in "abcde"])) <= 255


def test_labels_cannot_be_mistaken_for_two() -> None:
    with pytest.raises(FleetError):
        labels.normalize(["a:b"])
    assert labels.queue_of(["a", "b"]) != labels.queue_of(["a.b"])


@pytest.mark.parametrize("bad", ["", " ", "a b", "ä", "-a", "a" * 41, "a/b", "a\n"])
def test_what_is_no_label_is_refused(bad: str) -> None:
    with pytest.raises(FleetError, match="is no label"):
        labels.normalize(["good", bad.replace("\n", "\nb")])


def test_six_labels_are_too_many() -> None:
    with pytest.raises(FleetError, match="at most 5"):
        labels.queues_of("abcdef", "name")


def test_the_name_of_a_worker_stands_alone_and_is_no_label() -> None:
    with pytest.raises(FleetError, match="names one worker"):
        labels.queue_of(["gpu", "@lab7"])
    with pytest.raises(FleetError, match="cannot be a label of a worker"):
        labels.queues_of(["@lab7"], "lab7")
    with pytest.raises(FleetError, match="cannot be the name"):
        labels.checked_name("@lab")
    assert labels.matches(["@lab7"], "lab7", ["gpu"])
    assert not labels.matches(["@lab8"], "lab7", ["gpu"])


@pytest.mark.parametrize(
    ("codes", "worst"),
    [([0], 0), ([0, 10], 10), ([10, 11], 11), ([10, 12, 0], 12), ([10, 1], 1), ([0, 4, 10], 4), ([13, 10], 13),
     ([0, 99], 99)],
)  # fmt: skip
def test_the_exit_code_of_several_runs_is_that_of_the_worst(codes: list[int], worst: int) -> None:
    assert jobs.exit_code(codes) == worst
