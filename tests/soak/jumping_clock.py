"""Runs a program whose wall clock jumps by days, forward and backward, at every read.

python jumping_clock.py PYTHON -P -m MODULE ARGUMENTS
"""

from __future__ import annotations

import itertools
import runpy
import sys
import time

_DAYS = itertools.cycle((0, 3, -2, 0, -30, 1))
_now = time.time

time.time = lambda: _now() + 86_400 * next(_DAYS)
module = sys.argv[4]
sys.argv = [module, *sys.argv[5:]]
runpy.run_module(module, run_name="__main__", alter_sys=True)
