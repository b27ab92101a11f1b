"""Instructions per event of the kernels, counted, not timed: the same on a busy machine as on an idle one.

    python benchmarks/instructions.py            counts, and compares with instructions.json
    python benchmarks/instructions.py --record   counts, and writes instructions.json anew (say why in the commit)

Counted by valgrind's callgrind, which is switched on around the calls only, so that Python and Numba start at their own
speed. Valgrind knows no AVX-512, so kernels are compiled for AVX2 here; and not the reading of `perf`, whose counters
virtual machines rarely have.
"""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from forecaster import use_kernels, used_kernels

RECORDED = Path(__file__).with_name("instructions.json")
COMPILER = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
TOLERANCE = 0.03  # another release of LLVM moves the counts by a percent or two
ROWS, CALLS = 64, 4
SERIES = 128  # of `observe`, whose call from Python is shared by a batch
AGE = 60  # events that every series has seen before those that are counted: a day, a horizon and more
OBSERVE = {"literal": "observe", "general": "observe general"}  # forms of the kernel, see forecaster/kernels/forms.py
CELLS, SIZES = ("elman", "gru", "lstm"), (32,)

# Client requests of valgrind.h: the magic is a no-op on a real processor. rax points to six words, rdx is the answer.
_START, _STOP, _DUMP_AT = 0x43540004, 0x43540005, 0x43540003
_MAGIC = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3".replace(" ", ""))


def _request() -> Callable[[int, bytes], None]:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_MAGIC)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def request(code: int, text: bytes = b"") -> None:
        name = ctypes.create_string_buffer(text)
        words = (ctypes.c_uint64 * 6)(code, ctypes.addressof(name) if text else 0, 0, 0, 0, 0)
        call(ctypes.addressof(words))
        assert page  # kept until the last call

    return request


def works() -> dict[str, tuple[Callable[[], None], int]]:
    """What is counted: a name, a function, and the events of a call."""
    import llvmlite.binding

    # The tile follows the processor, and valgrind's has no AVX-512: the compiling process must decide as it does, or
    # the kernels would be compiled once more under valgrind, which takes minutes.
    llvmlite.binding.get_host_cpu_features = dict
    from forecaster.config import ModelConfig
    from forecaster.inspection.speed import observe_work, step_work

    found = {f"step {cell} {size}": (step_work(cell, size, ROWS)[0], ROWS) for cell in CELLS for size in SIZES}
    for form, name in OBSERVE.items():
        use_kernels(form)
        observe = observe_work(ModelConfig(horizon=24, seasons=(24, 168)), SERIES, SERIES)[0]
        for _ in range(AGE):
            observe()
        found[name] = functools.partial(_in_form, form, observe), SERIES
    return found


def _in_form(form: str, observe: Callable[[], None]) -> None:
    if used_kernels() != form:
        use_kernels(form)
    observe()


def run() -> None:
    """In the child: everything once to compile and warm up, then counted."""
    request = _request()
    for name, (call, _) in works().items():
        call()
        request(_START)
        for _ in range(CALLS):
            call()
        request(_STOP)
        request(_DUMP_AT, name.replace(" ", "_").encode())


def count() -> dict[str, int]:
    """Instructions per event by name.

    Raises:
        FileNotFoundError: there is no valgrind.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise FileNotFoundError("valgrind")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_CPU")} | COMPILER
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    program = [sys.executable, str(Path(__file__).resolve()), "--child"]
    subprocess.run(program, env=environment, check=True)  # compiles, at full speed
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        done = subprocess.run(
            [valgrind, *options, *program], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        found = {}
        for file in sorted(Path(folder).iterdir()):
            text = file.read_text()
            name = re.search(r"^desc: Trigger: Client Request: (\S+)", text, re.MULTILINE)
            totals = re.search(r"^totals: (\d+)", text, re.MULTILINE)
            if name and totals:
                found[name[1].replace("_", " ")] = round(int(totals[1]) / CALLS)
    return {name: number // (SERIES if name in OBSERVE.values() else ROWS) for name, number in found.items()}


def main() -> int:
    """Counts; records or compares. Exit status 1: something costs more, or less, than recorded."""
    if "--child" in sys.argv:
        run()
        return 0
    counted = count()
    if "--record" in sys.argv:
        RECORDED.write_text(json.dumps(counted, indent=2) + "\n")
    wrong = compare(counted)
    for name, number in counted.items():
        print(f"{name:<16}{number:>9} instructions per event  {wrong.get(name, '')}")
    return 1 if wrong else 0


def compare(counted: dict[str, int]) -> dict[str, str]:
    """What differs from the record, by name."""
    recorded = json.loads(RECORDED.read_text())
    assert set(recorded) == set(counted), "record anew: other works are counted"
    return {
        name: f"{number / recorded[name] - 1:+.1%} against {recorded[name]}"
        for name, number in counted.items()
        if abs(number / recorded[name] - 1) > TOLERANCE
    }


if __name__ == "__main__":
    sys.exit(main())
