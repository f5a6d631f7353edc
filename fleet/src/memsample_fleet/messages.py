"""The messages that a worker takes from its queues: those of memsample-fleet, and no others.

Celery trusts what is around the body of a message. An id that is no text ends the worker that reads it, and RabbitMQ
then gives the message to the next one. So what Celery sees is made anew of what is known to be sound.
"""

import json
import logging
from typing import Any

import celery.worker.consumer
import kombu.exceptions

from memsample_fleet import broker

log = logging.getLogger("memsample_fleet")

_LONGEST_ID = 200
_TOLD = 100
"""The most bytes of a body that are told."""


class Consumer(celery.worker.consumer.Consumer):  # type: ignore[misc]
    """Celery's, which throws away what is no message of memsample-fleet, with a line in the log."""

    def create_task_handler(self, *arguments: Any, **named: Any) -> Any:
        """Return what is called with each message."""
        take = super().create_task_handler(*arguments, **named)

        def take_sound(message: Any) -> Any:
            try:
                clean(message)
            except ValueError as error:
                return self._throw_away(message, str(error))
            return take(message)

        return take_sound

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Throw away a message that kombu cannot unpack."""
        self._throw_away(message, _unreadable(exc))

    def _throw_away(self, message: Any, why: str) -> None:
        body = bytes(message.body, "utf-8", "replace") if isinstance(message.body, str) else bytes(message.body or b"")
        log.error(
            "a message is thrown away, since it is none of memsample-fleet: %s. It has %d bytes: %r",
            why, len(body), body[:_TOLD],
        )  # fmt: skip
        # To reject one that needs no acknowledgement, such as of a control command, would close its channel.
        message.ack_log_error(log, self.connection_errors)


def _unreadable(error: BaseException) -> str:
    return f"it cannot be read: {' '.join(str(error).split())[:200]}"


def clean(message: Any) -> None:
    """Leave of a message what Celery needs to call the task; raises `ValueError` with what is wrong with it."""
    name, task_id = message.headers.get("task"), message.headers.get("id")
    if name != broker.TASK:
        raise ValueError("it names no task" if name is None else f"there is no task {name!r:.100}")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= _LONGEST_ID:
        raise ValueError("it has no id")
    # Whatever the sender says of size, compression and encoding: a decoder may fail in any way.
    try:
        body = message.payload
    except kombu.exceptions.ContentDisallowed:
        raise ValueError(f"it is no JSON, but {message.content_type!r:.100}") from None
    except Exception as error:
        raise ValueError(_unreadable(error)) from None
    _check(body)
    told = {key: message.headers[key] for key in ("argsrepr", "kwargsrepr", "origin") if key in message.headers}
    message.headers = {key: text for key, text in told.items() if isinstance(text, str)} | {
        "lang": "py",
        "task": broker.TASK,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "ignore_result": True,
    }


def _check(body: Any) -> None:
    match body:
        case [[str(run_id)], dict(named), dict(more)] if 0 < len(run_id) <= _LONGEST_ID:
            pass
        case _:
            raise ValueError("it does not name a run")
    version = named.get("version", 1)
    if isinstance(version, bool) or not isinstance(version, int):
        raise ValueError(f"its version is {json.dumps(version)[:100]}")
    if "run_id" in named:
        raise ValueError("it names two runs")
    if any(more.values()):
        raise ValueError("it asks for other tasks")
