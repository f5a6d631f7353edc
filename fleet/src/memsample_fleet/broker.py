"""The Celery application, its queues, and messages into them."""

import socket
import urllib.parse
from typing import Any

import amqp.exceptions
import kombu.exceptions
from celery import Celery
from kombu.entity import Exchange, Queue

from memsample_fleet import labels
from memsample_fleet.config import Config
from memsample_fleet.errors import FleetError

TASK = "memsample_fleet.run_suite"
"""Name of the task that runs a suite."""

TASK_VERSION = 1
"""Version of its message; a worker leaves a message of a later one to later workers. In each version the run is the
only argument without a name.

A worker takes what is more urgent without having seen its message: what a later version must not let this one execute
needs tables of a later version, too."""

PATIENCE_S = 30.0
"""How long a broker that does not answer is waited for."""

LONGEST_RUN_MS = 7 * 24 * 3600 * 1000
"""For how long RabbitMQ may wait for the acknowledgement of a message: from 3.12 on, a queue says it itself."""

Unreachable = (OSError, kombu.exceptions.OperationalError, amqp.exceptions.AMQPError, amqp.exceptions.ConnectionError)
"""What a broker that is away raises."""


def application(config: Config) -> Celery:
    """Make the Celery application of a configuration."""
    if not config.broker:
        raise FleetError(
            "no broker is named: set `broker` in fleet.toml, or MEMSAMPLE_FLEET_BROKER, such as "
            "amqp://USER:PASSWORD@HOST:5672/VHOST"
        )
    if urllib.parse.urlsplit(config.broker).scheme not in ("amqp", "amqps", "pyamqp"):
        raise FleetError("the URL of the broker must begin with amqp:// or amqps://: only RabbitMQ is supported")
    app = Celery("memsample_fleet", broker=config.broker)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        # A message that is lost with its worker is published again from the database, and its attempts are counted.
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_consumer="memsample_fleet.messages:Consumer",
        # A run goes on when the broker is away: its claim says that it is executed.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=True,
        worker_hijack_root_logger=True,
        worker_send_task_events=True,
        task_send_sent_event=True,
        task_create_missing_queues=False,
        task_queues=[queue(name) for name in labels.queues_of(config.labels, config.name or "nobody")],
        task_default_queue=labels.PREFIX,
        task_default_exchange="",
        task_default_exchange_type="direct",
        broker_connection_timeout=PATIENCE_S,
        broker_heartbeat=20,
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "confirm_publish": True,
            "client_properties": {"connection_name": f"memsample-fleet {config.name}"},
            "max_retries": 1,
            "interval_start": 0,
            "interval_max": 0.2,
        },
        timezone="UTC",
    )
    return app


def queue(name: str) -> Queue:
    """Describe a queue as everybody declares it: classic, durable, with priorities.

    Its type is said, since a virtual host may have another default.
    """
    return Queue(
        name,
        Exchange("", type="direct"),
        routing_key=name,
        durable=True,
        queue_arguments={"x-queue-type": "classic", "x-max-priority": 10, "x-consumer-timeout": LONGEST_RUN_MS},
    )


def connection(app: Celery, timeout_s: float = PATIENCE_S) -> Any:
    """Open a connection to the broker, or say why there is none."""
    opened = app.connection_for_write(connect_timeout=timeout_s)
    try:
        opened.ensure_connection(max_retries=1, interval_start=0, interval_step=0.1, timeout=timeout_s)
    except Unreachable as error:
        opened.release()
        raise FleetError(explain(app, error)) from None
    return opened


def explain(app: Celery, error: BaseException) -> str:
    """Say what is wrong with the broker, without the password of its URL."""
    where = app.connection_for_write().as_uri()
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, amqp.exceptions.AMQPError):
        cause = cause.__cause__
    if isinstance(cause, amqp.exceptions.AccessRefused):
        return f"the broker {where} refuses the user or the password of its URL"
    if isinstance(cause, amqp.exceptions.NotAllowed):
        return f"the broker {where} refuses the virtual host: {' '.join(str(cause).split())}"
    if isinstance(cause, socket.gaierror):
        return f"the broker {where} cannot be found: {cause.strerror}"
    return f"the broker {where} cannot be reached: {' '.join(str(cause).split()) or type(cause).__name__}"


class Publisher:
    """Messages that say that there is a run to execute; each is confirmed by the broker."""

    def __init__(self, app: Celery, timeout_s: float = PATIENCE_S) -> None:
        """Connect to the broker."""
        self.app, self.connection, self.timeout_s = app, connection(app, timeout_s), timeout_s
        self.channel = self.connection.channel()
        self.producer = app.amqp.Producer(self.channel)
        self.declared: set[str] = set()

    def publish(self, run_id: str, queue_name: str, priority: int) -> None:
        """Publish the message of a run; the queue is made if there is none yet."""
        if queue_name not in self.declared:
            queue(queue_name)(self.channel).declare()
            self.declared.add(queue_name)
        self.app.send_task(
            TASK,
            args=[run_id],
            kwargs={"version": TASK_VERSION},
            task_id=run_id,
            producer=self.producer,
            queue=queue(queue_name),
            priority=priority,
            ignore_result=True,
            confirm_timeout=self.timeout_s,
        )

    def waiting(self, queue_name: str) -> int | None:
        """Return how many messages wait in a queue; None if there is no such queue."""
        channel = self.connection.channel()
        try:
            return int(channel.queue_declare(queue_name, passive=True).message_count)
        except amqp.exceptions.NotFound:
            return None
        finally:
            channel.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.release()

    def __enter__(self) -> "Publisher":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()
