"""Columns of the int64 counters and times that a row holds; those of time are explained in interval.py."""

STEPS, LAST_TS, INTERVAL, EVENT, MODEL, OBSERVED, SERIAL, ADOPTED, SEEN = 0, 1, 2, 3, 4, 5, 6, 7, 8
STEP_TS, RUN_TS, BEFORE_TS, CADENCE, GAPS = 9, 10, 11, 12, 13
N_GAPS = 7  # that are kept where the interval is learnt; where it is configured, one
LEARNT_UNIT, LEARNT = 1 << 9, 7  # in CADENCE: how many of the first gaps are known
DOUBT_UNIT, DOUBT = 1 << 14, 3  # in CADENCE: steps that must follow until the newest time is not in doubt
NEVER = -(1 << 63)  # no event is older
