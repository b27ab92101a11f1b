"""What `[bootstrap]` means: the inputs of the history, how their records are decoded, and the partition of a series."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from service.config.bootstrap import BootstrapConfig
from service.config.input import FieldNames, InputConfig
from service.config.kafka import KafkaConfig
from service.config.sections import Config
from service.errors import ConfigurationError
from service.messages.decode import Decoder, Decodes
from service.messages.frames import Frames
from service.messages.history_decoder import HistoryDecoder
from service.messages.timestamps import format_times
from service.partitions.history_overlap import HistoryOverlap
from service.sources import Source
from service.sources.history import HistoryInput, begin_of
from service.sources.history_first import HistoryFirst
from service.sources.pipes import kind_of
from service.sources.prometheus_client import PrometheusClient
from service.sources.prometheus_pages import FIELDS, PrometheusPages, delete_pages, pages_glob

_LEAST_NAMES: Final = 4096  # series whose numbers a decoder keeps
_FORM: Final = frozenset({"format", "separator", "header", "skip_lines", "envelope"})
"""Keys of `[bootstrap]` that say of its files what those of `[input]` say of the live ones."""


def history_files(config: Config) -> InputConfig:
    """Returns the settings with which the files of the history are read: those of the input, and its own."""
    own, usual = config.bootstrap, config.input
    given = {name: getattr(usual, name) for name in usual.model_fields_set - _FORM}
    given |= {name: getattr(own, name) for name in own.model_fields_set & _FORM}
    fields = usual.fields if own.fields is None else own.fields
    return InputConfig.model_validate(given | {"files": own.files, "fields": fields})


def _of_server(config: Config) -> InputConfig:
    fields = FieldNames.model_validate(FIELDS)
    return config.input.model_copy(update={"format": "jsonl", "fields": fields, "where": "", "envelope": "none"})


def history_settings(config: Config) -> list[tuple[str, InputConfig]]:
    """Returns the inputs of the history, each with the settings with which its records are decoded."""
    files = history_files(config)
    found = [(entry, files) for entry in files.files]
    return [*found, (pages_glob(pages_folder(config)), _of_server(config))] if config.bootstrap.url else found


def history_inputs(config: Config) -> list[HistoryInput]:
    """Returns the inputs of the history, in the order in which they are read; none without `[bootstrap]`."""
    return [
        HistoryInput(
            entry, settings.format, settings.max_record_bytes, settings.fields.use_file_name, settings.csv_start
        )
        for entry, settings in history_settings(config)
    ]


def pages_folder(config: Config) -> Path:
    """Returns the folder of the samples of a server."""
    return config.state.data_dir / "bootstrap"


def _pages(config: Config) -> PrometheusPages:
    return PrometheusPages(config.bootstrap, pages_folder(config), PrometheusClient(config.bootstrap))


def check_bootstrap(config: Config) -> None:
    """Checks the settings of the history before anything is opened.

    Raises:
        ConfigurationError: it cannot be combined with the input.
    """
    if not config.bootstrap.is_set:
        return
    for entry in config.bootstrap.files:
        if kind_of(entry) != "file":
            msg = f'bootstrap.files: got "{entry}", expected names or globs of files'
            raise ConfigurationError(msg)
    _check_partitions(config)


def _check_partitions(config: Config) -> None:
    """Raises where it is not known which partition a series of the history belongs to."""
    own = f"bootstrap.{'files' if config.bootstrap.files else 'url'}"
    if config.kafka.topics:
        if len(config.kafka.topics) > 1:
            msg = f"{own}: got {len(config.kafka.topics)} topics, expected one, to whose partitions the series belong"
            raise ConfigurationError(msg)
        if config.sink == "kafka":
            msg = (
                f'{own}: got output.sink = "kafka" with kafka.topics, expected output.sink = "sqlite" or "stdout": the '
                "group's offsets have no place for positions of the history. Or read the history from the topic: "
                'kafka.start = "earliest" or a time, and output.publish_from'
            )
            raise ConfigurationError(msg)
        return
    entries = [*config.input.files, *(["pushed events"] if config.input.push else [])]
    if len(entries) > 1:
        msg = f"{own}: got {len(entries)} inputs ({', '.join(entries[:9])}), expected one, whose series they are"
        raise ConfigurationError(msg)


def with_history(live: Source, config: Config) -> Source:
    """Returns the source with the history before it; the source itself without `[bootstrap]`."""
    if not config.bootstrap.is_set:
        return live
    return HistoryFirst(live, history_inputs(config), lambda: delete_pages(pages_folder(config)))


def lacks_history(config: Config) -> bool:
    """Returns whether `fetch_history` has something to do."""
    return bool(config.bootstrap.url) and not _pages(config).is_complete()


def fetch_history(config: Config, now_ms: int, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> bool:
    """Fetches the history of `bootstrap.url`, if there is one and it was not fetched before.

    Args:
        config: checked.
        now_ms: the present time.
        stop: ends it, to be continued by the next start.
        beat: called before every request.

    Returns:
        Whether nothing is missing.

    Raises:
        ConfigurationError: the server refuses the query.
    """
    return not lacks_history(config) or _pages(config).fetch(now_ms, stop, beat)


def after_history(config: Config) -> KafkaConfig:
    """Returns the settings of topics behind the history: they begin at the time at which that of a server ends."""
    end_ms = None
    if config.bootstrap.url and config.kafka.start == "committed":
        end_ms = _pages(config).end_ms()
    if end_ms is None:
        return config.kafka
    return config.kafka.model_copy(update={"start": format_times(np.array([end_ms], np.int64))[0]})


def decoder_of(config: Config, frames: Frames | None = None) -> Decodes:
    """Returns the decoder of the live records, and of those of the history where there is one."""
    horizon, names = config.longest_horizon, max(_LEAST_NAMES, 2 * config.state.max_series)
    live = Decoder(config.input, horizon, frames, names)
    if not config.bootstrap.is_set:
        return live
    decoders = {
        begin_of(at): Decoder(own, horizon, most_names=names) for at, (_, own) in enumerate(history_settings(config))
    }
    return HistoryDecoder(live, decoders)


def overlap_of(config: Config, partition: str, count: int) -> HistoryOverlap | None:
    """Returns the overlap of a partition that begins; None without `[bootstrap]`.

    Args:
        config: checked.
        partition: its name.
        count: number of partitions among which the series are divided.
    """
    if not config.bootstrap.is_set:
        return None
    if not config.kafka.topics or count == 1:
        return HistoryOverlap(config.state.max_series)
    hashed, number = _hash(config.bootstrap), int(partition.rpartition("-")[2])
    return HistoryOverlap(
        config.state.max_series, lambda series: hashed(series) % count == number, takes_rejects=number == 0
    )  # fmt: skip


def _hash(settings: BootstrapConfig) -> Callable[[str], int]:
    if settings.partitioner == "crc32":
        return lambda series: zlib.crc32(series.encode())
    from service.kafka.records import Partitioner  # noqa: PLC0415 - importing an unused client costs time

    return Partitioner().hash
