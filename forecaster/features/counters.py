"""Columns of the int64 counters and times of a row; interval.py explains those of time."""

STEPS, LAST_TS, INTERVAL, EVENT, MODEL, OBSERVED, SERIAL, ADOPTED, SEEN = 0, 1, 2, 3, 4, 5, 6, 7, 8
STEP_TS, RUN_TS, BEFORE_TS, CADENCE, GAPS = 9, 10, 11, 12, 13
N_GAPS = 7  # stored gaps where the interval is learnt; one where it is configured
LEARNT_UNIT, LEARNT = 1 << 9, 7  # in CADENCE: number of known first gaps
DOUBT_UNIT, DOUBT = 1 << 14, 4  # in CADENCE: one more than the steps after which a time far ahead is not in doubt
NEVER = -(1 << 63)  # older than every event
