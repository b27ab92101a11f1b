"""Receives events pushed over HTTP: checks them, writes them to disk, and only then acknowledges them.

A body is accepted completely or not at all. Acknowledged events are forecast exactly once, like the lines of a file. A
sender without an acknowledgement, because the daemon died, sends again; if the events had been written, the engine
finds that their times are not new and makes no second forecast.

Sizes are bounded before memory is allocated: `input.push_body` bounds the decompressed bytes, and the bytes of the
lines that samples are converted to. Lines are checked in pieces, one body per client at a time, so that the memory used
is a small multiple of that bound. Bodies that may need a schema registry take turns of their own: other bodies of the
same client do not wait for the registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import structlog
from starlette.requests import Request

from service.config.input import InputConfig
from service.errors import SchemaRegistryError
from service.http import schemas as answers
from service.http.endpoint import Endpoint
from service.http.framed_bodies import FRAMED, IN_BASE64, ONE_RECORD, FramedBodies, FramedBodyError
from service.http.remote_write import RemoteWrite, RemoteWriteError, Sample, TooLargeError
from service.http.views import RequestError
from service.messages.decode import Decoder
from service.messages.timestamps import written
from service.monitoring.metrics import Metrics
from service.ports import Clock, Records
from service.sources.push_log import PushClosedError, PushError, PushFullError, PushLog

if TYPE_CHECKING:
    from service.schemas.frames import SchemaFrames

_log = structlog.get_logger(__name__)

_WORKERS: Final = 4  # bodies decompressed at once, of different clients; the others wait in order
_SHOWN: Final = 10  # invalid lines that an answer lists
_WRONG: Final = 100  # invalid lines after which the rest of a body is not checked
_PIECE_BYTES: Final = 1 << 16  # size of the lines that are checked together
_PIECE_LINES: Final = 1024  # number of samples that are checked together
_LATER_SECONDS: Final = 5
_MARK: Final = b"\xef\xbb\xbf"  # byte order mark
_JSON_LINES: Final = ("application/x-ndjson", "application/jsonl", "application/json", "application/x-jsonlines")
_LINE_PROTOCOL: Final = "application/x-influx-line-protocol"  # not text/plain, which a page of any site can send
_HINT: Final = (
    f"{_JSON_LINES[0]} (curl: --json @file), {_LINE_PROTOCOL} for line protocol, or {ONE_RECORD} for a record in the "
    "wire format of a schema registry"
)
_PROTOBUF: Final = ("application/x-protobuf", "application/x-protobuf;proto=prometheus.WriteRequest")


@dataclass(slots=True)
class CheckedBody:
    """The result of checking a body.

    Attributes:
        lines: the lines to write, each with its line end. events: their number.
        seen: number of checked lines. wrong: number of them that are not events. shown: the first of those, with
            reasons.
        filtered: samples that the configuration filters out.
        unsupported: data points that have no samples. notes: why, as texts.
    """

    lines: bytearray = field(default_factory=bytearray)
    events: int = 0
    seen: int = 0
    wrong: int = 0
    shown: list[str] = field(default_factory=list)
    filtered: int = 0
    unsupported: int = 0
    notes: list[str] = field(default_factory=list)


class _Turns:
    """Serialises the requests of each client to each pool. Used in the server's event loop only."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, ThreadPoolExecutor], asyncio.Lock] = {}
        self._waiting: dict[tuple[str, ThreadPoolExecutor], int] = {}

    @contextlib.asynccontextmanager
    async def of(self, client: str, pool: ThreadPoolExecutor) -> AsyncIterator[None]:
        """Waits for the previous requests of a client that are checked in the same pool."""
        key = client, pool
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._locks[key]


class Push:
    """The endpoints that accept events.

    Args:
        log: the log to write to; None: nothing is accepted.
        settings: settings of the input.
        metrics: the metrics to update.
        clock: gives the time of arrival, which is the record time of pushed events. It is compared once, before
            anything is written, so that a replay does not depend on the clock.
        frames: decodes records in the wire format of a schema registry; None without one. Closed by `close`.
    """

    def __init__(
        self,
        log: PushLog | None,
        settings: InputConfig,
        metrics: Metrics,
        clock: Clock,
        frames: SchemaFrames | None = None,
    ) -> None:
        self._log, self._settings, self._metrics, self._clock = log, settings, metrics, clock
        self._decoder, self._remote = Decoder(settings), RemoteWrite(settings.push_metrics, settings.push_body)
        self._accepted = frozenset(settings.series)
        self._pool, self._turns = ThreadPoolExecutor(_WORKERS, "push"), _Turns()
        self._framed = FramedBodies(frames, settings.fields.time_unit, settings.push_body, settings.max_record_bytes)
        # One thread: it may wait for the registry, and bodies of other kinds do not wait for it.
        self._framed_pool = ThreadPoolExecutor(1, "push-framed")
        if log is not None:
            metrics.push_spool.set_function(lambda: log.size)

    def endpoints(self) -> list[Endpoint]:
        """Returns the table of endpoints."""
        lines = "JSON lines: one event per line, with the fields of [input]; gzip is supported."
        kinds, failures = dict.fromkeys(_JSON_LINES, lines), (404, 413, 415, 429, 503)
        kinds[_LINE_PROTOCOL] = "InfluxDB line protocol, each line with a timestamp; gzip is supported."
        kinds[ONE_RECORD] = "One record in the wire format of the configured schema registry; gzip is supported."
        kinds[IN_BASE64] = "Such records in base64, as Confluent's REST Proxy takes them; gzip is supported."
        write = {_PROTOBUF[0]: "Prometheus remote write 1.0: a WriteRequest, compressed with snappy."}
        return [
            Endpoint("/events", "Accepts events; they are on disk at the response.", self.events, answers.Taken,
                     method="POST", bodies=kinds, encodings=("identity", "gzip"), failures=failures),
            Endpoint("/write", "Accepts Prometheus samples; they are on disk at the response.", self.write,
                     answers.Taken, method="POST", bodies=write, encodings=("snappy",), failures=failures),
        ]  # fmt: skip

    async def events(self, request: Request, _found: Mapping[str, Any]) -> answers.Taken:
        """Accepts JSON lines, InfluxDB line protocol, and records in the wire format of a schema registry."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in {*_JSON_LINES, _LINE_PROTOCOL, *FRAMED}:
            raise self.refused("unsupported", 415, f"content-type: got {kind[:80]!r}, expected {_HINT}")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise self.refused("unsupported", 415, f"content-encoding: got {encoding[:80]!r}, expected gzip or none")
        plain = kind == _LINE_PROTOCOL

        def make(body: bytes) -> CheckedBody:
            body = self.unzipped(body) if encoding == "gzip" else body
            return self._records(body, kind) if kind in FRAMED else self._lines(body, comments=plain)

        pool = self._framed_pool if kind in FRAMED else self._pool
        return await self._take(request, make, "events", 429, pool)

    async def write(self, request: Request, _found: Mapping[str, Any]) -> answers.Taken:
        """Accepts remote write requests."""
        kind = request.headers.get("content-type", "").replace(" ", "")
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if kind not in _PROTOBUF or encoding != "snappy":
            got = f"{kind[:80]!r} with content-encoding {encoding[:80]!r}"
            msg = f"content-type: got {got}, expected '{_PROTOBUF[0]}' with 'snappy': remote write 1.0"
            raise self.refused("unsupported", 415, msg)
        # Not 429: Prometheus drops samples after a 429, unless configured to retry.
        return await self._take(request, self._samples, "write", 503, self._pool)

    async def _take(
        self, request: Request, make: Callable[[bytes], CheckedBody], path: str, full: int, pool: ThreadPoolExecutor
    ) -> answers.Taken:
        made = await self.store(request, make, path, full, pool)
        if made.wrong:
            # Samples only. The specification requires accepting the valid samples and answering with status 400, after
            # which the sender does not retry.
            text = f"{made.wrong} of {made.seen} samples are not events; the others were accepted. {made.shown[0]}"
            raise self.refused("invalid", 400, text, made.shown)
        return answers.Taken(accepted=made.events, filtered=made.filtered)

    async def store(
        self,
        request: Request,
        make: Callable[[bytes], CheckedBody],
        path: str,
        full: int,
        pool: ThreadPoolExecutor | None = None,
    ) -> CheckedBody:
        """Checks the body of a request, and returns when its events are on disk.

        Args:
            request: its body was received.
            make: checks the body; called in a worker's thread, for one body of a client and pool at a time.
            path: label of the accepted events.
            full: status while the log is full.
            pool: of the thread; None: the usual one.

        Raises:
            RequestError: nothing of it was accepted.
        """
        if self._log is None:
            raise self.refused("off", 404, "this daemon does not accept events over HTTP; set input.push = true")
        loop, body = asyncio.get_running_loop(), await request.body()
        pool = pool or self._pool
        async with self._turns.of(request.client.host if request.client is not None else "", pool):
            made = await loop.run_in_executor(pool, make, body)
        # Outside of the lock: bodies that are written at the same time share a sync of the disk.
        await loop.run_in_executor(self._pool, self._append, self._log, made, path, full)
        self._metrics.push_filtered.inc(made.filtered)
        return made

    def refused(self, reason: str, status: int, text: str, lines: list[str] | None = None) -> RequestError:
        """Counts a refused request, and returns its failure."""
        self._metrics.push_refused.labels(reason).inc()
        return RequestError(status, reason, text, lines, _LATER_SECONDS if status in (429, 503) else 0)

    def close(self) -> None:
        """Closes the connections to the schema registry, after the lookup in work; further bodies are not decoded."""
        self._framed.stop()
        self._framed_pool.shutdown(cancel_futures=True)
        self._framed.close()

    # In a worker's thread ------------------------------------------------------------------------------------

    def _records(self, body: bytes, kind: str) -> CheckedBody:
        """Converts records in the wire format of a schema registry to lines; all of them have to be events."""
        try:
            lines = self._framed.lines(body, kind)
        except SchemaRegistryError as error:
            # Its text may name the registry and what it answered, which are for the operator only.
            _log.warning("schemas of pushed records not available, sender retries", error=str(error))
            text = "the schema registry does not answer, or the daemon stops; send the body again later"
            raise self.refused("not_ready", 503, text) from error
        except FramedBodyError as error:
            raise self.refused("invalid", 400, f"{error}; nothing of the body was accepted") from error
        return self._lines(b"\n".join(lines), comments=False, unit="record")

    def _lines(self, body: bytes, *, comments: bool, unit: str = "line") -> CheckedBody:
        """Checks the lines of a body, all of which have to be events.

        Args:
            body: the lines. comments: whether comments are read, and not kept.
            unit: what an answer calls a line.
        """
        made = CheckedBody()
        for numbers, lines in _pieces(body, comments=comments):
            wrong = self._problems(lines)
            made.seen += len(lines)
            made.wrong += len(wrong)
            made.shown += [f"{unit} {numbers[at]}: {why}" for at, why in wrong.items()][: _SHOWN - len(made.shown)]
            if made.wrong >= _WRONG:
                break
            if not made.wrong:
                made.lines += b"\n".join(lines) + b"\n"
        if made.wrong:
            first = "the first " if made.wrong >= _WRONG else ""
            text = (
                f"{made.wrong} of {first}{made.seen} {unit}s are not events; nothing of the body was accepted. "
                f"{made.shown[0]}"
            )
            raise self.refused("invalid", 400, text, made.shown)
        made.events = made.seen
        return made

    def unzipped(self, body: bytes) -> bytes:
        """Decompresses a gzip body.

        Raises:
            RequestError: it is none, or its content is larger than allowed.
        """
        most = self._settings.push_body
        try:
            unzip = zlib.decompressobj(31)
            found = unzip.decompress(body, most + 1)
        except zlib.error as error:
            raise self.refused("invalid", 400, f"got a body that is not gzip ({error})") from error
        if len(found) > most:
            raise self.refused("too_large", 413, f"got more than {most} bytes after decompression (input.push_body)")
        if not unzip.eof or unzip.unused_data:
            raise self.refused("invalid", 400, "got a gzip body that is truncated or has several members, expected one")
        return found

    def _samples(self, body: bytes) -> CheckedBody:
        """Converts the samples of a body to lines, without those that are not events."""
        try:
            samples, filtered = self._remote.decode(body)
        except TooLargeError as error:
            raise self.refused("too_large", 413, str(error)) from error
        except RemoteWriteError as error:
            raise self.refused("invalid", 400, str(error)) from error
        return self.checked_samples(samples, filtered)

    def checked_samples(self, samples: list[Sample], filtered: int) -> CheckedBody:
        """Converts samples to lines, without those that are not events; `filtered`: the number of others."""
        if not self._settings.fields.is_flat:
            msg = "remote write and OTLP need one value per event, and names without paths in input.fields"
            raise self.refused("invalid", 400, msg)
        made = CheckedBody(filtered=filtered)
        if self._accepted:
            taken = [sample for sample in samples if sample.problem or sample.series in self._accepted]
            samples, made.filtered = taken, made.filtered + len(samples) - len(taken)
        names, unit = self._settings.fields, self._settings.fields.time_unit
        time = names.timestamp_paths[0].text
        for begin in range(0, len(samples), _PIECE_LINES):
            lines = [
                orjson.dumps({
                    names.series: one.series, time: written(one.timestamp_ms, unit), names.value: one.value,
                })
                for one in samples[begin : begin + _PIECE_LINES]
            ]  # fmt: skip
            unnamed = {
                at: f"wrong_type: {one.problem}"
                for at, one in enumerate(samples[begin : begin + _PIECE_LINES])
                if one.problem
            }
            wrong = dict(sorted((self._problems(lines) | unnamed).items()))
            made.seen += len(lines)
            made.wrong += len(wrong)
            for at in list(wrong)[: _SHOWN - len(made.shown)]:
                made.shown.append(f"{lines[at][:200].decode('utf-8', 'replace')}: {wrong[at]}")
            if good := [line for at, line in enumerate(lines) if at not in wrong] if wrong else lines:
                made.lines += b"\n".join(good) + b"\n"
                made.events += len(good)
        return made

    def _problems(self, lines: Sequence[bytes]) -> dict[int, str]:
        """Returns reason and detail of every invalid line, by its number."""
        decoded = self._decoder.decode(Records("push", range(len(lines)), len(lines), lines))
        found = {reject.position: f"{reject.reason}: {reject.detail}" for reject in decoded.rejects}
        text = f"undecodable: got a comment, expected an event; only {_LINE_PROTOCOL} has comments"
        found |= {at: text for at, line in enumerate(lines) if line.startswith(b"#")}  # a mark in the log
        most = round(self._settings.max_ahead * 1000)
        if most:
            ahead = decoded.timestamp_ms - self._clock.wall_ms()
            for at in np.flatnonzero(ahead > most).tolist():
                text = (
                    f"too_far_ahead: {int(ahead[at])} ms after the present time, expected at most {most} "
                    "(input.max_ahead)"
                )
                found[decoded.positions[at]] = text
        return dict(sorted(found.items()))

    def _append(self, log: PushLog, made: CheckedBody, path: str, full: int) -> None:
        if not made.events:
            return
        try:
            log.append(bytes(made.lines))
        except PushFullError as error:
            raise self.refused("full", full, str(error)) from error
        except PushClosedError as error:
            raise self.refused("not_ready", 503, str(error)) from error
        except PushError as error:
            raise self.refused("failed", 503, str(error)) from error
        self._metrics.push_events.labels(path).inc(made.events)


def _pieces(body: bytes, *, comments: bool) -> Iterator[tuple[list[int], list[bytes]]]:
    """Yields pieces of the lines of a body, with their numbers, without blank lines and `comments`."""
    stream, before = io.BytesIO(body), 0
    if body.startswith(_MARK):
        stream.seek(len(_MARK))
    while found := stream.readlines(_PIECE_BYTES):
        kept = [(at, line) for at, line in enumerate(found, before + 1) if not line.isspace()]
        kept = [(at, line) for at, line in kept if not line.lstrip().startswith(b"#")] if comments else kept
        before += len(found)
        if kept:
            yield [at for at, _ in kept], [line.rstrip(b"\r\n") for _, line in kept]
