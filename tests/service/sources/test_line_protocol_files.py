"""Files and streams of InfluxDB line protocol: the same records in the first read and in a replay, by any name."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from opened_sources import OPENED

from service.config.input import InputConfig
from service.config.load import load_config
from service.discovery.choice import settled
from service.discovery.sample import of_topic, sample_of_file
from service.discovery.settle import settle
from service.errors import ConfigurationError
from service.kafka.tools.produce_file import events_of
from service.messages.decode import Decoder
from service.ports import Records
from service.sources.file_source import FileSource

START = 1_767_571_200_000
LINES = [b"# made by hand"] + [b"m,host=a f=%d,g=%di %d000000" % (i, -i, START + 60_000 * i) for i in range(40)]


def read(pattern: Path, form: str = "auto") -> list[Records]:
    """Returns the batches of a file or a glob, read and replayed, which are the same."""
    source = FileSource(str(pattern), form)
    OPENED.append(source)
    source.open([], None)
    found = []
    while (records := source.read(15)) is not None:
        found.append(records)
    again = list(source.replay(0, source.position, 15))
    assert [one.values for one in again] == [one.values for one in found]
    assert [one.headers for one in again] == [one.headers for one in found]
    return found


@pytest.mark.parametrize("name", ["a.lp", "a.line", "a.influx", "a.lp.1", "a.lp.gz", "a.txt"])
def test_names(tmp_path: Path, name: str) -> None:
    """A file of a usual name needs no setting, also rotated or compressed; one of any name needs the format."""
    text = b"\n".join(LINES)
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    found = read(tmp_path / name, "influx" if name == "a.txt" else "auto")
    assert [value for one in found for value in one.values] == LINES
    decoded = [Decoder(InputConfig()).decode(one) for one in found]
    assert sum(map(len, decoded)) == 80
    assert not any(one.rejects for one in decoded)
    assert set(decoded[0].series) == {"m,host=a f", "m,host=a g"}


def test_glob_of_formats(tmp_path: Path) -> None:
    """Every file of a glob is read in its own format, so that lines without a time are rejected as such."""
    (tmp_path / "a.jsonl").write_bytes(b'{"series": "a", "timestamp": 5, "value": 1}\n')
    (tmp_path / "b.lp").write_bytes(b"m f=1 7\nm f=2\n")
    (tmp_path / "c.csv").write_bytes(b"series,timestamp,value\nb,9,2\n")
    decoded = [Decoder(InputConfig()).decode(one) for one in read(tmp_path / "*.*")]
    assert [name for one in decoded for name in one.series] == ["a", "m f", "b"]
    assert [one.reason for decoding in decoded for one in decoding.rejects] == ["missing_field"]


def test_chosen_by_the_first_bytes(tmp_path: Path) -> None:
    """Of a file whose name says nothing the format is chosen, and nothing else."""
    (tmp_path / "metrics.out").write_bytes(b"\n".join(LINES))
    config = load_config(None, {"input.files": [str(tmp_path / "metrics.out")], "state.data_dir": str(tmp_path / "d")})
    assert settle(config).settings == {"input.format": "influx"}
    (tmp_path / "other.lp").write_bytes(b"m f=1 7\n")
    both = [str(tmp_path / "metrics.out"), str(tmp_path / "other.lp")]
    config = load_config(None, {"input.files": both, "state.data_dir": str(tmp_path / "d")})
    assert settle(config).settings == {"input.format": "influx"}
    (tmp_path / "x.csv").write_bytes(b"when,load\n2026-01-05,1\n2026-01-06,2\n")
    mixed = [str(tmp_path / "x.csv"), str(tmp_path / "other.lp")]
    config = load_config(None, {"input.files": mixed, "state.data_dir": str(tmp_path / "d")})
    with pytest.raises(ConfigurationError, match="lacks"):
        settle(config)


def test_what_is_configured_is_kept(tmp_path: Path) -> None:
    """Fields that the configuration names are used as it says, the others are those of line protocol."""
    (tmp_path / "a.lp").write_bytes(b"\n".join(LINES) + b"\n")
    given = InputConfig.model_validate({"fields": {"series": "{host}.{field}"}})
    sample = sample_of_file(str(tmp_path / "a.lp"), given)
    decoded = Decoder(settled(sample, given)).decode(sample.records)
    assert (set(decoded.series), len(decoded)) == ({"a.f", "a.g"}, 80)


def test_topic() -> None:
    """A sample of a topic is line protocol where most of its records are, and its format is then to be set."""
    values = [b"\n".join(LINES[:5]), b"{}", b"m f=1 1767571200"]
    sample = of_topic("t", Records("t-0", range(3), 3, values, timestamps_ms=[0] * 3), InputConfig())
    assert (sample.format, sample.guessed, len(sample.rows)) == ("influx", True, 5)
    assert of_topic("t", Records("t-0", range(2), 2, [b"{}", values[0]]), InputConfig()).format == "jsonl"


def test_sent_to_a_topic(tmp_path: Path) -> None:
    """The lines of a file are sent to a topic as they are, without its comments."""
    (tmp_path / "a.lp").write_bytes(b"\n".join(LINES))
    sent = list(events_of(tmp_path / "a.lp", InputConfig()))
    assert [value for _, _, value in sent] == LINES[1:]
    assert sent[1][:2] == (START + 60_000, "m,host=a f")
