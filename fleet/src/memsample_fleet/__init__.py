"""Runs suites of memsample on many machines: Celery workers on RabbitMQ, claims and results in PostgreSQL."""

__version__ = "0.1.0"
