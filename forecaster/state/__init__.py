"""The state per series and the history of events, and how both are saved and restored.

This package exports the reading and writing of snapshots; `forecaster` exports the rest.
"""

from forecaster.state.capture import Capture
from forecaster.state.checkpoint import checked, read_checkpoint, read_header
from forecaster.state.checkpoint_stream import Streamed, stream_checkpoint
from forecaster.state.incremental import ROW_ARRAYS, ROWS, Mark, laid_over

__all__ = [
    "ROWS",
    "ROW_ARRAYS",
    "Capture",
    "Mark",
    "Streamed",
    "checked",
    "laid_over",
    "read_checkpoint",
    "read_header",
    "stream_checkpoint",
]
