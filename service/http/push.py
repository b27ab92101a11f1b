"""Events that are pushed over HTTP: checked, written to disk, and only then acknowledged.

A body is taken as a whole or not at all. What a sender was told is taken is forecast exactly once, as lines of a file
are. A sender that was not told anything, because the daemon died, sends again; of events that had come through all the
same, the engine knows that it has seen their times and makes no second forecast.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import orjson
from starlette.requests import Request

from service.http import answers
from service.http.endpoint import Endpoint
from service.http.remote_write import RemoteWrite, RemoteWriteError, TooLargeError
from service.http.views import RequestError
from service.input_config import InputConfig
from service.messages import Decoder
from service.metrics import Metrics
from service.ports import Clock, Records
from service.transports.push_log import PushClosedError, PushError, PushFullError, PushLog

_WORKERS: Final = 4  # bodies decompressed at once; the others wait as they came
_SHOWN: Final = 10  # wrong lines that an answer lists
_LATER_SECONDS: Final = 5
_JSON_LINES: Final = ("application/x-ndjson", "application/jsonl", "application/json", "application/x-jsonlines")
_HINT: Final = f"{_JSON_LINES[0]} (curl: --json @file)"
_PROTOBUF: Final = ("application/x-protobuf", "application/x-protobuf;proto=prometheus.WriteRequest")


class Push:
    """The endpoints that take events.

    Args:
        log: where they are written; None: nothing is taken.
        settings: of the input.
        metrics: where it is counted.
        clock: for the time of arrival, which is the record time of what is pushed. It is compared once, before anything
            is written, so that a replay has nothing to decide.
    """

    def __init__(self, log: PushLog | None, settings: InputConfig, metrics: Metrics, clock: Clock) -> None:
        self._log, self._settings, self._metrics, self._clock = log, settings, metrics, clock
        self._decoder, self._remote = Decoder(settings), RemoteWrite(settings.push_metrics, settings.push_body)
        self._accepted = frozenset(settings.series)
        self._pool = ThreadPoolExecutor(_WORKERS, "push")
        if log is not None:
            metrics.push_spool.set_function(lambda: log.size)

    def endpoints(self) -> list[Endpoint]:
        """The table."""
        lines = "JSON lines: one event a line, with the fields of [input]; gzip is understood."
        kinds, failures = dict.fromkeys(_JSON_LINES, lines), (404, 413, 415, 429, 503)
        write = {_PROTOBUF[0]: "Prometheus remote write 1.0: a WriteRequest, compressed by snappy."}
        return [
            Endpoint("/events", "Takes events; they are on disk when it answers.", self.events, answers.Taken,
                     method="POST", bodies=kinds, encodings=("identity", "gzip"), failures=failures),
            Endpoint("/write", "Takes samples of a Prometheus; they are on disk when it answers.", self.write,
                     answers.Taken, method="POST", bodies=write, encodings=("snappy",), failures=failures),
        ]  # fmt: skip

    async def events(self, request: Request, _found: Mapping[str, Any]) -> answers.Taken:
        """JSON lines."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _JSON_LINES:
            raise self._refused("unsupported", 415, f"content-type: got {kind[:80]!r}, expected {_HINT}")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise self._refused("unsupported", 415, f"content-encoding: got {encoding[:80]!r}, expected gzip or none")
        return await self._in_turn(self._take_lines, await request.body(), encoding == "gzip")

    async def write(self, request: Request, _found: Mapping[str, Any]) -> answers.Taken:
        """Remote write."""
        kind = request.headers.get("content-type", "").replace(" ", "")
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if kind not in _PROTOBUF or encoding != "snappy":
            got = f"{kind[:80]!r} with content-encoding {encoding[:80]!r}"
            msg = f"content-type: got {got}, expected '{_PROTOBUF[0]}' with 'snappy': remote write 1.0"
            raise self._refused("unsupported", 415, msg)
        return await self._in_turn(self._take_samples, await request.body())

    async def _in_turn(self, take: Callable[..., answers.Taken], *args: Any) -> answers.Taken:
        if self._log is None:
            raise self._refused("off", 404, "this daemon takes no events over HTTP; set input.push = true")
        return await asyncio.get_running_loop().run_in_executor(self._pool, take, *args)

    def _refused(self, reason: str, status: int, text: str, lines: list[str] | None = None) -> RequestError:
        self._metrics.push_refused.labels(reason).inc()
        return RequestError(status, reason, text, lines, _LATER_SECONDS if status in (429, 503) else 0)

    # In a worker's thread ------------------------------------------------------------------------------------

    def _take_lines(self, body: bytes, compressed: bool) -> answers.Taken:  # noqa: FBT001 - as it is called
        if compressed:
            body = self._unzipped(body)
        numbered = [(at, line) for at, line in enumerate(body.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)]
        numbered = [(at, line.rstrip(b"\r")) for at, line in numbered if line.strip()]
        lines = [line for _, line in numbered]
        wrong = [f"line {numbered[at][0]}: {why}" for at, why in self._problems(lines).items()]
        if wrong:
            text = f"{len(wrong)} of {len(lines)} lines are no events; nothing of the body was taken. {wrong[0]}"
            raise self._refused("invalid", 400, text, wrong[:_SHOWN])
        self._append(lines, "events", 429)
        return answers.Taken(accepted=len(lines), filtered=0)

    def _unzipped(self, body: bytes) -> bytes:
        most = self._settings.push_body
        try:
            unzip = zlib.decompressobj(31)
            found = unzip.decompress(body, most + 1)
        except zlib.error as error:
            raise self._refused("invalid", 400, f"got a body that is no gzip ({error})") from error
        if len(found) > most:
            raise self._refused("too_large", 413, f"got more than {most} bytes once decompressed (input.push_body)")
        if not unzip.eof or unzip.unused_data:
            raise self._refused("invalid", 400, "got a gzip body that is cut short or has several parts, expected one")
        return found

    def _take_samples(self, body: bytes) -> answers.Taken:
        try:
            samples, filtered = self._remote.decode(body)
        except TooLargeError as error:
            raise self._refused("too_large", 413, str(error)) from error
        except RemoteWriteError as error:
            raise self._refused("invalid", 400, str(error)) from error
        if self._accepted:
            taken = [sample for sample in samples if sample.problem or sample.series in self._accepted]
            samples, filtered = taken, filtered + len(samples) - len(taken)
        names = self._settings.fields
        lines = [
            orjson.dumps({names.series: one.series, names.timestamp: one.timestamp_ms, names.value: one.value})
            for one in samples
        ]
        unnamed = {at: f"wrong_type: {one.problem}" for at, one in enumerate(samples) if one.problem}
        wrong = dict(sorted((self._problems(lines) | unnamed).items()))
        good = [line for at, line in enumerate(lines) if at not in wrong] if wrong else lines
        # Not 429 where it is too much: Prometheus drops what is answered by that, unless it was told to try again.
        self._append(good, "write", 503)
        self._metrics.push_filtered.inc(filtered)
        if wrong:  # by the specification: the others are taken, the status is 400, and the sender does not try again
            why = [f"{lines[at][:200].decode('utf-8', 'replace')}: {text}" for at, text in wrong.items()]
            text = f"{len(wrong)} of {len(lines)} samples are no events; the others were taken. {why[0]}"
            raise self._refused("invalid", 400, text, why[:_SHOWN])
        return answers.Taken(accepted=len(lines), filtered=filtered)

    def _problems(self, lines: Sequence[bytes]) -> dict[int, str]:
        """What is wrong with which of the lines: reason and detail, in their order."""
        decoded = self._decoder.decode(Records("push", range(len(lines)), len(lines), lines))
        found = {reject.position: f"{reject.reason}: {reject.detail}" for reject in decoded.rejects}
        most = round(self._settings.max_ahead * 1000)
        if most:
            ahead = decoded.timestamp_ms - self._clock.wall_ms()
            for at in np.flatnonzero(ahead > most).tolist():
                text = f"too_far_ahead: {int(ahead[at])} ms later than now, expected at most {most} (input.max_ahead)"
                found[decoded.positions[at]] = text
        return dict(sorted(found.items()))

    def _append(self, lines: Sequence[bytes], path: str, full: int) -> None:
        if self._log is None or not lines:
            return
        try:
            self._log.append(b"\n".join(lines) + b"\n")
        except PushFullError as error:
            raise self._refused("full", full, str(error)) from error
        except PushClosedError as error:
            raise self._refused("not_ready", 503, str(error)) from error
        except PushError as error:
            raise self._refused("failed", 503, str(error)) from error
        self._metrics.push_events.labels(path).inc(len(lines))
