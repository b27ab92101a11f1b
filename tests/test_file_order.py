"""Laws of the order of the test files."""

from __future__ import annotations

from pathlib import Path

import file_order
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.builds("{}/{}.py".format, st.sampled_from(["broker", "e2e", "forecaster", "service"]), st.integers(0, 20))


@given(st.dictionaries(NAMES, st.floats(0.1, 500.0)), st.lists(NAMES))
def test_both_kinds_last_as_long_as_the_run(seconds: dict[str, float], others: list[str]) -> None:
    """Every file is placed once, long ones before short ones of their kind, and both kinds end together."""
    files = [*others, *seconds, *others]
    found = file_order.ordered(files, seconds)

    assert sorted(found) == sorted(set(files))
    kinds = [[f for f in found if (f.partition("/")[0] in file_order.WAITING) is waits] for waits in (True, False)]
    for kind in kinds:
        durations = [seconds.get(file, 1.0) for file in kind]
        assert durations == sorted(durations, reverse=True)
    shares = [{f: seconds.get(f, 1.0) / sum(seconds.get(one, 1.0) for one in kind) for f in kind} for kind in kinds]
    largest = max((share for kind in shares for share in kind.values()), default=0.0)
    done = [0.0, 0.0]
    for file in found:
        at = 0 if file in shares[0] else 1
        done[at] += shares[at][file]
        if all(shares):
            assert abs(done[0] - done[1]) <= largest + 1e-9


def test_recorded_files_exist() -> None:
    """The record names files of the suite, and no short ones."""
    folder = Path(file_order.__file__).parent
    assert [file for file in file_order.recorded() if not (folder / file).is_file()] == []
    assert min(file_order.recorded().values()) >= file_order.SHORT


def test_a_record(tmp_path: Path, monkeypatch) -> None:
    """Durations are added by file, and short files are left out."""
    monkeypatch.setattr(file_order, "RECORD", tmp_path / "seconds.json")
    file_order.record([("a.py", 4.0), ("b.py", 4.0), ("a.py", 3.0)])
    assert file_order.recorded() == {"a.py": 7}
