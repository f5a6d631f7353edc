"""The Celery application of the usual configuration, for Celery's own tools: `celery --app memsample_fleet events`."""

from memsample_fleet import broker, config, task

app = broker.application(config.load())
"""The application."""

task.register(app, config.load())
