"""Reads the recordings of memsample, and the results of its test runs.

```python
import memsample

recording = memsample.open("recordings/nightly")
for role in recording.roles()[:5]:
    print(role.name, role.lower_bytes)
recording.resample("1s", by="role")         # a table of Arrow; .to_pandas() makes a frame of it
recording.sql("SELECT comm, max(rss_bytes) FROM samples GROUP BY comm")
```

Bytes are bytes, times are nanoseconds unless a name says otherwise, and None or null is what is not known.
"""

from .errors import (
    DamagedError,
    MemsampleError,
    MissingExtraError,
    NoAccessError,
    NotARecordingError,
    NoteWarning,
    NotInRunError,
    NotRecordedError,
    NotRecordedWarning,
    ProgramError,
    QueryError,
    SeveralFailedError,
    UnclosedRecordingError,
    UnsupportedFormatError,
)
from .info import Machine, RecordingInfo, Settings, Totals
from .many import Recordings, open_many
from .peaks import LargestSum
from .program import Peak, compare
from .recording import Recording
from .recording import open_recording as open
from .results import Attempt, Group, Memory, RoleMemory, RunInfo, Test
from .run import Run, Runs, open_run, open_runs
from .store import read_store

__all__ = [
    "Attempt",
    "DamagedError",
    "Group",
    "LargestSum",
    "Machine",
    "Memory",
    "MemsampleError",
    "MissingExtraError",
    "NoAccessError",
    "NotARecordingError",
    "NotInRunError",
    "NotRecordedError",
    "NotRecordedWarning",
    "NoteWarning",
    "Peak",
    "ProgramError",
    "QueryError",
    "Recording",
    "RecordingInfo",
    "Recordings",
    "RoleMemory",
    "Run",
    "RunInfo",
    "Runs",
    "Settings",
    "SeveralFailedError",
    "Test",
    "Totals",
    "UnclosedRecordingError",
    "UnsupportedFormatError",
    "compare",
    "open",
    "open_many",
    "open_run",
    "open_runs",
    "read_store",
]
