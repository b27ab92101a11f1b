"""How a CSV file begins, found by its first lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.csv_start import USUAL_START, CsvStart
from service.config.input import InputConfig
from service.discovery.choice import settled
from service.discovery.csv_layout import find_csv_start
from service.discovery.sample import sample_of_file
from service.errors import ConfigurationError
from service.messages.decode import Decoder

ROWS = [f"2026-01-{day:02d} 00:00;{day},5;{day * 2},5" for day in range(1, 20)]
NAMED = ["when;load;heat", *ROWS]


def found(*lines: str, complete: bool = True, **settings: Any) -> CsvStart:
    """Returns how a file with these lines begins."""
    text = "\n".join(lines) + "\n"
    return find_csv_start(text.encode(), InputConfig.model_validate(settings), complete=complete)


ABOVE = ["", "sep=;", "# made by hand", "#group;false", "Station 5", "one;two", "a,b"]


@given(st.lists(st.sampled_from(ABOVE), max_size=5), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_the_same_events_as_the_plain_file(
    tmp_path_factory: pytest.TempPathFactory, above: list[str], named: bool, end: str
) -> None:
    """Whatever is above the table, and with a header or without one, the values and times are those of the table."""
    path = tmp_path_factory.mktemp("layout") / "a.csv"
    above = [line for line in above if named or line not in {"Station 5", "one;two", "a,b"}]
    path.write_bytes("".join(line + end for line in [*above, *(NAMED if named else ROWS)]).encode())
    sample = sample_of_file(str(path), InputConfig())
    decoded = Decoder(settled(sample, InputConfig())).decode(sample.records)
    assert decoded.rejects == []
    assert decoded.value.tolist() == [value for day in range(1, 20) for value in (day + 0.5, 2 * day + 0.5)]
    assert set(decoded.series) == ({"load", "heat"} if named else {"column_2", "column_3"})


@pytest.mark.parametrize(
    ("lines", "start"),
    [
        (NAMED, USUAL_START),
        (ROWS, CsvStart(0, has_header=False, separator=";")),
        (["#when;load;heat", *ROWS], USUAL_START),
        (["# comment", "#when;load;heat", *ROWS], CsvStart(1)),
        (["0,1,2", "2026-01-01,3,4", "2026-01-02,5,6"], USUAL_START),
        (["1767571200,3,4", "1767571260,5,6"], CsvStart(0, has_header=False, separator=",")),
        (["region;01.01.2026;02.01.2026", "north;5;6", "south;6;7"], USUAL_START),
        (["when,load", *(f"2026-01-0{day},{day},extra" for day in range(1, 9))], USUAL_START),
        (["just text", "of no table"], USUAL_START),
        (["when,load", '2026-01-01,"5', '"'], USUAL_START),
    ],
)
def test_layouts(lines: list[str], start: CsvStart) -> None:
    """Headers, comments that are headers, tables without one, and files that are left as they are."""
    assert found(*lines) == start


def test_what_is_configured_is_kept() -> None:
    """Settings take precedence over what is found."""
    assert found(*ROWS, header=True) == USUAL_START
    assert found("title", *NAMED, skip_lines=0) == CsvStart(0, has_header=True)
    assert found("title", "more", *NAMED, skip_lines=2) == CsvStart(2)
    assert found(*ROWS, separator=";").separator == ";"


def test_several_tables(tmp_path: Path) -> None:
    """Annotated CSV with several tables is refused where it is read as CSV, because their columns may differ."""
    table = ["#datatype,string,long", ",result,_time,_value", *(f",,2026-01-0{day},{day}" for day in range(1, 9)), ""]
    (tmp_path / "x.csv").write_text("\n".join([*table, *table]) + "\n")
    with pytest.raises(ConfigurationError, match="'#datatype' below the header: several tables"):
        sample_of_file(str(tmp_path / "x.csv"), InputConfig(skip_lines=1))
    assert len(sample_of_file(str(tmp_path / "x.csv"), InputConfig()).records) == 16
