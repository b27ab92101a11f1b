"""The compiling process: `python -m service.engine.compile_process`, started by service/engine/literal_kernels.py.

It reads the networks, one JSON line, from its standard input, compiles their literal kernels into the cache on disk,
and ends with the daemon, whose end closes the input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from typing import Any, Final

_LOWEST_PRIORITY: Final = 19


def main() -> None:
    """Compiles the code that reads records, and the kernels of all networks of the request."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_daemon, daemon=True).start()
    os.nice(_LOWEST_PRIORITY)
    # Imported only now: loading compiled kernels is work that should have the lower priority already.
    from forecaster import ModelConfig, start_model, use_kernels  # noqa: PLC0415 - see above
    from forecaster.flat_text import compile_flat_text  # noqa: PLC0415 - see above
    from service.trainer.compile import compile_kernels  # noqa: PLC0415 - see above

    use_kernels("literal")
    compile_flat_text()
    for settings in request["networks"]:
        network = replace(ModelConfig.from_dict(settings), pretrained=False)
        compile_kernels(start_model(network))


def _end_with_daemon() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
