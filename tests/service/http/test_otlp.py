"""OTLP metrics over HTTP: what a real sender exports is forecast, and answers follow the specification."""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from parts import TurnedClock, config_of, event
from prometheus_client import CollectorRegistry

from service.config.input import InputConfig
from service.http import Guard, HttpServer, OtlpPush, Push, ReloadableTls, create_app
from service.http.otlp import OtlpError, OtlpMetrics, series_of
from service.http.remote_write import Sample, TooLargeError
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.sources.push_log import PushLog

NOW = TurnedClock(1_700_100_000.0)
TIME = 1_700_000_000_000
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json; charset=utf-8"}
RESOURCE = InputConfig().push_resource


class Receiver:
    """A server with the endpoint, and its log."""

    def __init__(self, folder: Path, *, clock: TurnedClock = NOW, **settings: Any) -> None:
        config = config_of(folder, input={"push": True, "push_body": 1 << 16, **settings})
        self.metrics = Metrics(CollectorRegistry())
        self.log = PushLog(folder / "push", config.input.push_spool)
        self.log.open(None)
        otlp = OtlpPush(Push(self.log, config.input, self.metrics, clock), config.input)
        app = create_app(self.metrics, Health(TurnedClock()), dict, routes=otlp.routes())
        guard = Guard(app, ReloadableTls(None), max_request_bytes=1 << 18, request_seconds=10, refused=lambda _: None)
        self.server = HttpServer(guard, "127.0.0.1", 0)

    @property
    def events(self) -> list[tuple[str, int, float | None]]:
        """The events that are on disk."""
        found = self.log.read(0, 100_000)
        lines = [] if found is None else [orjson.loads(line) for line in found.values]
        return [(line["series"], line["timestamp"], line["value"]) for line in lines]

    def post(self, body: bytes, headers: dict[str, str] = PROTOBUF) -> httpx.Response:
        """Sends a body."""
        return httpx.post(f"{self.server.url}/v1/metrics", content=body, headers=headers, trust_env=False, timeout=30)


def opened(folder: Path, **settings: Any) -> Iterator[Receiver]:
    """Serves the endpoint."""
    receiver = Receiver(folder, **settings)
    with receiver.server:
        yield receiver
    receiver.log.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """The endpoint with the default settings."""
    yield from opened(tmp_path)


def attributes(**values: Any) -> list[KeyValue]:
    """Returns attributes; `__` in a name is a dot."""
    return [
        KeyValue(
            key=key.replace("__", "."), value=value if isinstance(value, AnyValue) else AnyValue(string_value=value)
        )
        for key, value in values.items()
    ]


def point(value: float = 1.5, ms: int = TIME, **labels: Any) -> NumberDataPoint:
    """Returns a data point."""
    return NumberDataPoint(as_double=value, time_unix_nano=ms * 1_000_000, attributes=attributes(**labels))


def gauge(name: str, *points: NumberDataPoint) -> Metric:
    """Returns a gauge."""
    metric = Metric(name=name)
    metric.gauge.data_points.extend(points)
    return metric


def request_of(*metrics: Metric, scope: str = "", **resource: Any) -> ExportMetricsServiceRequest:
    """Returns a request of one resource and scope."""
    request = ExportMetricsServiceRequest()
    one = request.resource_metrics.add()
    one.resource.attributes.extend(attributes(**resource))
    inner = one.scope_metrics.add()
    inner.scope.name = scope
    inner.metrics.extend(metrics)
    return request


def partial(response: httpx.Response) -> tuple[int, str]:
    """Returns how many data points were not accepted, and why."""
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-protobuf")
    found = ExportMetricsServiceResponse.FromString(response.content).partial_success
    return found.rejected_data_points, found.error_message


class TestSender:
    """The exporter of the OpenTelemetry SDK."""

    @pytest.mark.parametrize("delta", [False, True])
    def test_a_real_sender(self, tmp_path: Path, delta: bool) -> None:
        """Counters and gauges of an application become events, and its histograms are reported as not supported."""
        for receiver in opened(tmp_path, max_ahead=""):
            exporter = OTLPMetricExporter(
                f"{receiver.server.url}/v1/metrics",
                compression=Compression.Gzip if delta else Compression.NoCompression,
                preferred_temporality={Counter: AggregationTemporality.DELTA} if delta else {},
            )  # fmt: skip
            reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
            resource = Resource({"service.name": "shop", "process.pid": 7})
            provider = MeterProvider([reader], resource, shutdown_on_exit=False)
            meter = provider.get_meter("till")
            orders, seconds = meter.create_counter("orders"), meter.create_histogram("seconds")
            meter.create_observable_gauge("queue", [lambda _: [Observation(3, {"desk": "a"}), Observation(4)]])
            for _ in range(2):
                orders.add(5, {"kind": "tea"})
                seconds.record(1.5)
                assert provider.force_flush()
            provider.shutdown()
            own = 'otel.scope.name="till",service.name="shop"}'
            values = dict[str, list[float | None]]()
            for series, _, value in receiver.events:
                values.setdefault(series, []).append(value)
            assert values['orders{kind="tea",' + own][:2] == ([5.0, 5.0] if delta else [5.0, 10.0])
            assert values['queue{desk="a",' + own][:2] == [3.0, 3.0]
            assert values["queue{" + own][:2] == [4.0, 4.0]
            assert len(values) == 3


class TestAnswers:
    """Statuses and bodies of the specification."""

    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("encoding", ["protobuf", "json"])
    def test_accepted(self, receiver: Receiver, encoding: str, zipped: bool) -> None:
        """Both encodings, compressed or not, have the same events, and are answered in the encoding of the request."""
        request = request_of(
            gauge("load", point(2.5), point(7, TIME + 1, core="1")), host__name="web1", os__type="linux"
        )
        is_json = encoding == "json"
        body = json_format.MessageToJson(request).encode() if is_json else request.SerializeToString()
        headers = (JSON if is_json else PROTOBUF) | ({"content-encoding": "gzip"} if zipped else {})
        response = receiver.post(gzip.compress(body) if zipped else body, headers)
        assert response.status_code == 200
        assert response.content == (b"{}" if is_json else b"")
        assert response.headers["content-type"].partition(";")[0] == headers["content-type"].partition(";")[0]
        assert receiver.events == [
            ('load{host.name="web1"}', TIME, 2.5), ('load{core="1",host.name="web1"}', TIME + 1, 7.0)
        ]  # fmt: skip
        registry = receiver.metrics.registry
        assert registry.get_sample_value("forecaster_push_events_total", {"path": "otlp"}) == 2

    def test_other_metrics(self, receiver: Receiver) -> None:
        """Histograms and summaries are counted in the answer, and sums of any kind are accepted."""
        metrics = [Metric(name=name) for name in ("h", "e", "s", "sum")]
        metrics[0].histogram.data_points.add(count=1)
        metrics[1].exponential_histogram.data_points.add()
        metrics[2].summary.data_points.add()
        metrics[2].summary.data_points.add()
        metrics[3].sum.data_points.append(NumberDataPoint(as_int=-3, time_unix_nano=TIME * 1_000_000))
        rejected, text = partial(receiver.post(request_of(*metrics).SerializeToString()))
        assert rejected == 4
        assert text == (
            "4 data points of histograms and exponential histograms and summaries are not supported, "
            "only gauges and sums"
        )
        assert receiver.events == [("sum", TIME, -3.0)]

    def test_some_wrong(self, receiver: Receiver) -> None:
        """Data points that are no events are counted in the answer with a reason, and the others are accepted."""
        late = NOW.wall_ms() + 10**9
        points = [point(), NumberDataPoint(as_double=1.0), point(2, late), point(3, TIME + 1)]
        rejected, text = partial(receiver.post(request_of(gauge("load", *points)).SerializeToString()))
        assert rejected == 2
        assert "without time_unix_nano" in text
        assert [value for _, _, value in receiver.events] == [1.5, 3.0]
        body = json_format.MessageToJson(request_of(gauge("", point()))).encode()
        found = json.loads(receiver.post(body, JSON).content)["partialSuccess"]
        assert found["rejectedDataPoints"] == "1"
        assert "without a name" in found["errorMessage"]

    def test_missing_values(self, receiver: Receiver) -> None:
        """A data point without a recorded or finite value is an event without a value."""
        nothing = NumberDataPoint(time_unix_nano=TIME * 1_000_000)
        flagged = NumberDataPoint(time_unix_nano=(TIME + 1) * 1_000_000, as_double=4, flags=1)
        body = request_of(gauge("load", nothing, flagged, point(float("nan"), TIME + 2))).SerializeToString()
        assert partial(receiver.post(body)) == (0, "")
        assert [value for _, _, value in receiver.events] == [None, None, None]

    @pytest.mark.parametrize(
        ("body", "headers", "status", "text"),
        [
            (b"\x0a\x05abc", PROTOBUF, 400, "not an ExportMetricsServiceRequest"),
            (b"[1]", JSON, 400, "not JSON of an"),
            (b"\xff", JSON, 400, "not JSON of an"),
            (b"{" * 4000, JSON, 400, "levels deep"),
            (b"{" + b" " * 5000 + b"}", JSON, 413, "input.push_body"),
            (b"x", PROTOBUF | {"content-encoding": "gzip"}, 400, "truncated"),
            (gzip.compress(bytes(1 << 17)), PROTOBUF | {"content-encoding": "gzip"}, 413, "input.push_body"),
            (bytes(1 << 17), PROTOBUF, 413, "input.push_body"),
            (b"\x0a\x00" * 20_000, PROTOBUF, 413, "input.push_body"),
            (b"", PROTOBUF | {"content-encoding": "zstd"}, 415, "'zstd'"),
            (b"", {"content-type": "text/plain"}, 415, "'text/plain'"),
        ],
    )  # fmt: skip
    def test_refused(self, receiver: Receiver, body: bytes, headers: dict[str, str], status: int, text: str) -> None:
        """A body that is no request is refused as a status in its own encoding, which the sender does not retry."""
        response = receiver.post(body, headers)
        assert response.status_code == status
        if response.headers["content-type"] == "application/json":
            message = response.json()["message"]
        else:  # google.rpc.Status has its message where a partial success has it
            message = ExportMetricsPartialSuccess.FromString(response.content).error_message
        assert text in message
        assert "retry-after" not in response.headers
        assert receiver.events == []

    def test_backpressure(self, tmp_path: Path) -> None:
        """A full log is 503 with Retry-After, and so is a daemon that stops."""
        body = request_of(gauge("load", *(point(at, TIME + at) for at in range(500)))).SerializeToString()
        for receiver in opened(tmp_path, push_spool=1 << 20):
            statuses = [receiver.post(body).status_code for _ in range(40)]
            assert set(statuses) == {200, 503}
            response = receiver.post(body)
            assert int(response.headers["retry-after"]) > 0
            assert b"input.push_spool" in response.content
            receiver.log.close()
            assert receiver.post(body).status_code == 503

    def test_not_possible(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without input.push, without the extra, and with wide records the answer says what to do."""
        body = request_of(gauge("load", point())).SerializeToString()
        for receiver in opened(tmp_path, fields={"series": "host.name"}):
            response = receiver.post(body)
            assert (response.status_code, b"input.fields" in response.content) == (400, True)
            monkeypatch.setitem(sys.modules, "service.http.otlp", None)
            other = OtlpPush(Push(None, InputConfig(), receiver.metrics, NOW), InputConfig())
            app = create_app(receiver.metrics, Health(TurnedClock()), dict, routes=other.routes())
            with HttpServer(app, "127.0.0.1", 0) as server:
                url = f"{server.url}/v1/metrics"
                response = httpx.post(url, content=body, headers=PROTOBUF, trust_env=False)
                assert (response.status_code, "otlp" in response.json()["message"]) == (501, True)
                monkeypatch.undo()
                response = httpx.post(url, content=body, headers=PROTOBUF, trust_env=False)
                assert (response.status_code, b"input.push" in response.content) == (404, True)


class TestNames:
    """The names of series."""

    def decode(self, request: ExportMetricsServiceRequest, metrics: Sequence[str] = ()) -> list[Sample]:
        """Returns the samples of a request."""
        return OtlpMetrics(metrics, RESOURCE, 1 << 20).decode(request.SerializeToString()).samples

    def test_precedence(self) -> None:
        """An attribute of the data point takes precedence over that of the scope and of the resource."""
        request = request_of(
            gauge("m", point(service__name="p", a="1")),
            scope="lib",
            service__name="r",
            k8s__pod__name="x",
            host__id="y",
        )  # fmt: skip
        assert [one.series for one in self.decode(request)] == [
            'm{a="1",k8s.pod.name="x",otel.scope.name="lib",service.name="p"}'
        ]

    def test_kinds_of_attributes(self) -> None:
        """Attributes that are no texts are JSON."""
        many = AnyValue()
        many.array_value.values.extend([AnyValue(int_value=1), AnyValue(string_value="b")])
        pairs = AnyValue()
        pairs.kvlist_value.values.add(key="k", value=AnyValue(bytes_value=b"\xff"))
        labels = {
            "a": AnyValue(bool_value=True),
            "b": AnyValue(double_value=0.5),
            "c": many,
            "d": pairs,
            "e": AnyValue(),
        }
        assert self.decode(request_of(gauge("m", point(**labels))))[0].series == (
            'm{a="true",b="0.5",c="[1,\\"b\\"]",d="{\\"k\\":\\"/w==\\"}",e="null"}'
        )

    def test_filter(self) -> None:
        """Only metrics that a glob of input.push_metrics matches are accepted, and the others are counted."""
        request = request_of(gauge("http.load", point(), point()), gauge("jvm.load", point()))
        found = OtlpMetrics(["http.*"], RESOURCE, 1 << 20).decode(request.SerializeToString())
        assert ([one.series for one in found.samples], found.filtered) == (["http.load"] * 2, 1)

    @given(
        st.lists(
            st.tuples(
                st.text('a.{}",=\\\n ', max_size=4),
                st.dictionaries(st.text('a",=\\', max_size=3), st.text('a",=\\', max_size=3), max_size=2),
            ),
            min_size=2,
            max_size=2,
        )
    )
    def test_names_differ(self, found: list[tuple[str, dict[str, str]]]) -> None:
        """Two series have the same name only if metric and attributes are the same."""
        one, other = found
        assert (series_of(*one) == series_of(*other)) == (one == other)

    def test_leaf_that_is_no_message(self) -> None:
        """A data point, scope or resource that cannot be decoded, or is too long, costs its data points only."""
        good = request_of(gauge("good", point()))
        bad = ExportMetricsServiceRequest()
        bad.CopyFrom(request_of(gauge("bad", point()), a="x" * 70_000))
        body = good.SerializeToString() + bad.SerializeToString()
        found = OtlpMetrics((), RESOURCE, 1 << 20).decode(body).samples
        assert [(one.series, bool(one.problem)) for one in found] == [("good", False), ("bad", True)]
        broken = good.SerializeToString().replace(b"good", b"g\xffod")
        (only,) = OtlpMetrics((), RESOURCE, 1 << 20).decode(broken).samples
        assert only.series == '"g\ufffdod"'


class TestBounds:
    """The lines of a body are bounded before they are made."""

    def test_long_names(self) -> None:
        """A long attribute of a resource with many data points is refused when its lines exceed the limit."""
        request = request_of(gauge("m", *(point() for _ in range(3000))), host__name="x" * 50_000)
        with pytest.raises(TooLargeError, match=r"input\.push_body"):
            OtlpMetrics((), RESOURCE, 1 << 20).decode(request.SerializeToString())

    @given(st.binary(max_size=200), st.booleans())
    def test_any_bytes(self, data: bytes, inside: bool) -> None:
        """Any bytes are samples, or are refused with an error that says what was received."""
        if inside:
            inner = request_of(gauge("m", point())).SerializeToString()
            data = inner[: len(data) % len(inner)] + data + inner
        try:
            found = OtlpMetrics((), RESOURCE, 1 << 16).decode(data)
        except (OtlpError, TooLargeError) as error:
            refusal = str(error)
        else:
            refusal = ""
            assert all(one.problem or one.timestamp_ms for one in found.samples)
        assert not refusal or "got" in refusal
        with contextlib.suppress(OtlpError, TooLargeError):
            OtlpMetrics((), RESOURCE, 1 << 16).decode_json(data)


def test_one_log(receiver: Receiver) -> None:
    """Data points are stored as the lines of pushed events are, in the order of the answers."""
    receiver.post(request_of(gauge("a", point(1))).SerializeToString())
    receiver.log.append(event(1) + b"\n")
    receiver.post(request_of(gauge("a", point(2, TIME + 1))).SerializeToString())
    found = receiver.log.read(0, 10)
    assert found is not None
    assert len(found.values) == 3
    assert orjson.loads(found.values[2]) == {"series": "a", "timestamp": TIME + 1, "value": 2.0}
