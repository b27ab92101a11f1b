"""The compiling process: `python -m service.engine.compile_process`, started by service/engine/literal_kernels.py.

It reads the networks, one JSON line, from its standard input, compiles the requested form of their kernels into the
cache on disk, and ends with the daemon, whose end closes the input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from typing import Any

# On a busy machine the lowest priority never ends a compilation: it is for literal kernels, which save a fifth of the
# instructions. What replaces quickly made code and Python saves several times as many.
_LOW_PRIORITY, _LOWEST_PRIORITY = 5, 19


def main() -> None:
    """Compiles the kernels of all networks of the request, and the other functions where it is asked for them."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_daemon, daemon=True).start()
    os.nice(_LOWEST_PRIORITY if any(one["form"] == "literal" for one in request["networks"]) else _LOW_PRIORITY)
    # Imported only now: loading compiled kernels is work that should have the lower priority already.
    from forecaster import ModelConfig, compile_postponed, start_model, use_kernels  # noqa: PLC0415 - see above
    from forecaster.flat_text import compile_flat_text  # noqa: PLC0415 - see above
    from service.trainer.compile import compile_kernels  # noqa: PLC0415 - see above

    for one in request["networks"]:
        use_kernels(one["form"])
        network = replace(ModelConfig.from_dict(one["network"]), pretrained=False)
        compile_kernels(start_model(network))
    if request["others"]:
        use_kernels("literal")
        compile_flat_text()
        compile_postponed()


def _end_with_daemon() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
