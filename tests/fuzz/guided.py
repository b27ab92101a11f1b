"""`make fuzz-coverage`: the readers under atheris, which keeps inputs that reach new code and mutates them further.

    FUZZ_SECONDS=60 python tests/fuzz/guided.py [READER ...]

Every reader runs in a process of its own; its corpus begins with the seeds of `targets`. Prints a row per reader, and
ends with status 1 if a reader did anything other than accept an input or refuse it by an error of its own. The failing
input is kept, and its path printed.

Guided by the bytecode of service/ and of the readers of checkpoints and changes. Compiled kernels and third-party
parsers cannot be instrumented; they run unchanged.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

SECONDS: Final = int(os.environ.get("FUZZ_SECONDS", "60"))
GUIDED_BY: Final = ["service", "forecaster.state.checkpoint", "forecaster.state.incremental"]
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERED: Final = re.compile(r"cov: (\d+).*corp: (\d+)")


def read(name: str, arguments: list[str]) -> None:
    """Runs in a process of its own: feeds inputs to a reader until the time is over or it fails. Does not return."""
    import atheris

    with atheris.instrument_imports(include=GUIDED_BY, enable_loader_override=False):
        from targets import targets
    target = targets()[name]

    def attempt(data: bytes) -> None:
        answer = "taken"
        try:
            target.take(data)
        except target.allowed as error:
            answer = str(error)
        assert answer, "refused without a word"

    for at, seed in enumerate(target.seeds):
        (Path(arguments[-1]) / f"seed-{at}").write_bytes(seed)
        attempt(seed)
    atheris.Setup([sys.argv[0], *arguments], attempt)
    atheris.Fuzz()


def guide(name: str) -> bool:
    """Runs a reader for its time and prints its row; returns whether it passed."""
    kept = Path(tempfile.mkdtemp(prefix=f"forecaster-{name.replace(' ', '-')}-"))
    (kept / "corpus").mkdir()
    options = [f"-max_total_time={SECONDS}", "-print_final_stats=1", "-rss_limit_mb=4096", "-timeout=300"]
    command = [sys.executable, __file__, "--one", name, *options, f"-artifact_prefix={kept}/", str(kept / "corpus")]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False)
    said = done.stderr.decode(errors="replace")
    found, covered = _EXECUTED.search(said), _COVERED.findall(said)
    inputs, (edges, corpus) = int(found[1]) if found else 0, covered[-1] if covered else ("0", "0")
    held = done.returncode == 0 and inputs > 0
    sys.stdout.write(f"| {name} | {inputs:,} | {int(edges):,} | {int(corpus):,} | {0 if held else 1} |\n")
    sys.stdout.flush()
    if not held:
        sys.stdout.write(f"{said[-4000:]}\nstatus {done.returncode}; the input is in {kept}\n")
    return held


def main() -> int:
    """Runs all readers, or the named ones."""
    if "--one" in sys.argv:
        read(sys.argv[2], sys.argv[3:])
    from targets import targets

    names = sys.argv[1:] or list(targets())
    sys.stdout.write(
        "| reader | inputs | branches seen | inputs that reached new code | anything else |\n|---|---|---|---|---|\n"
    )
    held = [guide(name) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
