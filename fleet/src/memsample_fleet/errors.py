"""What goes wrong, as sentences that say what to do."""


class FleetError(Exception):
    """A failure; the message says what to do. The command ends with exit code 1."""


class InvalidSuiteError(FleetError):
    """A suite that cannot be sent or unpacked."""

    def __init__(self, message: str, code: int = 12) -> None:
        """`code` is the exit code, as of `memsample run`."""
        super().__init__(message)
        self.code = code


class UnfitWorkerError(FleetError):
    """This machine cannot run suites at all: the run is given back, and the worker ends."""
