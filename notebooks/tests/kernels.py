"""Executes notebooks."""

import tempfile

import papermill
from traitlets.config import Config


def execute_notebook(notebook, output, parameters):
    """Executes a notebook in a kernel whose sockets are files: a port that is free when it is chosen may be taken when the
    kernel binds it. Beside many others a kernel starts, and answers, late."""
    with tempfile.TemporaryDirectory() as directory:
        config = Config(KernelManager={"transport": "ipc", "ip": f"{directory}/kernel"})
        papermill.execute_notebook(
            notebook, output, parameters, progress_bar=False, start_timeout=600, iopub_timeout=600, config=config
        )
