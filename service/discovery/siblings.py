"""The other files of an input: whether they have the fields that were chosen for the first one."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from itertools import islice
from typing import Final

from service.config.input import InputConfig
from service.discovery.sample import InputSample, NothingToReadError, sample_of_file
from service.errors import ServiceError
from service.messages.mapping import is_glob
from service.sources.catalog import Catalog

MOST_FILES: Final = 100  # of a glob that are looked at
_RECORDS: Final = 200  # of each
_COLUMNS: Final = 9  # in a message


@dataclass(frozen=True, slots=True)
class OtherFiles:
    """The other files of a glob.

    Attributes:
        looked_at: their number, without the first file. more: of further files, which were not looked at.
        different: what differs from the first file, by the name of the file.
    """

    looked_at: int
    more: int
    different: dict[str, str]


def other_files(entry: str, settings: InputConfig, first: InputSample, chosen: InputConfig) -> OtherFiles:
    """Looks at the first records of the other files of a glob.

    Args:
        entry: the glob.
        settings: of the input.
        first: the sample of its first file. chosen: the settings with what was chosen for that.
    """
    catalog = Catalog(entry)
    catalog.find()
    paths = [stretch.path for stretch in islice(catalog.pending(now=True), 1, None)]
    different: dict[str, str] = {}
    for path in paths[:MOST_FILES]:
        try:
            sample = sample_of_file(glob.escape(path), settings, most=_RECORDS)
        except NothingToReadError:
            continue
        except ServiceError as error:
            different[path] = str(error)
        else:
            if text := difference(sample, first, chosen):
                different[path] = text
    return OtherFiles(min(len(paths), MOST_FILES), max(0, len(paths) - MOST_FILES), different)


def lacking_fields(sample: InputSample, chosen: InputConfig) -> list[str]:
    """Returns the fields of the settings that a sample does not have."""
    have = set(sample.paths)
    fields = chosen.fields.of_format(sample.format)
    return [path.text for path in fields.paths if not is_glob(path) and not {path.text, path.name} & have]


def difference(sample: InputSample, first: InputSample, chosen: InputConfig) -> str:
    """Returns how a file differs from the first one of its glob as far as it matters, "" if it does not."""
    parts = list[str]()
    if sample.csv != first.csv:
        parts.append("its header is in another place" if sample.csv.has_header == first.csv.has_header
                     else "only one of them has a header")  # fmt: skip
    if lacking := lacking_fields(sample, chosen):
        parts.append(f"it lacks {', '.join(lacking[:_COLUMNS])}")
    if sample.format == "csv" and (more := [path for path in sample.paths if path not in first.paths]):
        parts.append(f"it has {', '.join(more[:_COLUMNS])} as well")
    return "; ".join(parts)
