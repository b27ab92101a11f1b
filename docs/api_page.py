"""The reference of the JSON API, from its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service.http import openapi_document

INTRODUCTION = """This page describes the JSON API of the daemon: series, forecasts, history, anomalies, alerts, \
models, pushed events.

It is served beside the metrics, on port 9464 of the loopback unless `[http]` says otherwise; the OpenAPI 3.1 document \
is at `/api/v1/openapi.json`.
Times are epoch milliseconds, and unknown values are `null`.
Every failure is `{"error": {"code": "...", "message": "..."}}` with a status of 4xx or 5xx; the message says what was \
received and what was expected.
Passwords and TLS are those of `http.web_config`.
Within v1 fields may be added; none is removed or changes its meaning.

```sh
curl -s 'http://127.0.0.1:9464/api/v1/series?search=cpu&limit=5'
curl -s 'http://127.0.0.1:9464/api/v1/series?sort=coverage&limit=20'
curl -s 'http://127.0.0.1:9464/api/v1/series/host1.cpu/forecast'
curl -s 'http://127.0.0.1:9464/api/v1/series/host1.cpu/history?horizon=1,24&from=2026-11-22T00:00:00Z'
```

An identifier in a path is percent-encoded: `node_load1{instance="a/b"}` is `node_load1%7Binstance%3D%22a%2Fb%22%7D`.

## What the daemon keeps for the API

The daemon keeps the last `http.recent_events` events of `http.recent_series` series in memory, with their forecasts \
1, 2, 4, ... steps ahead.
The first series of the stream get a slot each.
A request for a series without a slot gives it the slot of the series that was requested longest ago (a series that \
was never requested counts as longest); recording of its details starts then, and its answers carry `"detailed": \
false` until its next event.
Series with listeners keep their slots; a silent series loses its slot to the next new one.
Anomalies are kept for all series, the newest 10,000.
After a restart, values are restored from the history that training keeps, and forecasts follow with the next event.

The memory is bounded: `recent_series * (recent_events * (38 + 8 K Q) + 8 H Q)` bytes for H steps, Q levels and K \
recorded horizons, 38 MB with the defaults and the usual model, allocated as it fills.
Skill, coverage and share of flagged events are kept for all series, as means over about their last 200 events since \
the start of the daemon or since a change of the network's shape: `GET /series?sort=skill` lists the worst first. \
They take 80 bytes per series.
`http.recent_series = 0` turns all of this off.
It costs the engine 0.3 microseconds an event, and 0.9 where every event is recorded: 3 to 8 % of computing and \
encoding the forecast (`python benchmarks/push.py live`).

## Pushing events

With `input.push = true` (`forecaster run --push`) the daemon accepts events over HTTP, in the order in which bodies \
are acknowledged, as one partition called "push".
[Prometheus only](prometheus-only.md) describes remote write; any other producer sends JSON lines:

```sh
curl -s -H 'Content-Type: application/x-ndjson' http://127.0.0.1:9464/api/v1/events --data-binary @- <<'END'
{"series": "cpu", "timestamp": "2026-11-22T10:00:00Z", "value": 0.42}
{"series": "cpu", "timestamp": "2026-11-22T10:01:00Z", "value": 0.44}
END
```

The lines may also be InfluxDB line protocol, each with a timestamp ([its form](messages.md#influxdb-line-protocol)); \
its content type is `application/x-influx-line-protocol`.
This is what sends it in Telegraf:

```text
[[outputs.http]]
url = "http://127.0.0.1:9464/api/v1/events"
data_format = "influx"
[outputs.http.headers]
Content-Type = "application/x-influx-line-protocol"
```

Records in the wire format of a schema registry (Avro, Protobuf, JSON Schema), as the serializers of Kafka clients \
make them, are accepted with `schema_registry.url` set: one as the body with the content type \
`application/octet-stream`, several in base64 in the body that Confluent's REST Proxy takes:

```text
POST /api/v1/events
Content-Type: application/vnd.kafka.binary.v2+json

{"records": [{"value": "AAAAAAECYQ=="}, {"value": "AAAAAAECYg=="}]}
```

They are decoded when they arrive, and the spool holds JSON lines with their fields, so that a restart needs no \
registry.
A key in such a body is not read; a record whose schema the registry does not have refuses the body with status 400.
A body has at most 50,000 records, of at most 100 different schemas.

| answer | meaning |
|---|---|
| 200 | the body is synced to disk (`spool/push` in the data folder) and is forecast exactly once |
| 400 | nothing of the body is accepted; the answer lists the lines that are wrong |
| 429, 503 with Retry-After | backpressure: the spool is full (`input.push_spool`), or the daemon starts or stops; 503 \
also while the schema registry does not answer |
| none | send the body again: an event whose time its series already has makes no second forecast |

Prometheus remote write (`/api/v1/write`) is described in [Prometheus only](prometheus-only.md), OTLP \
[below](#otlp-metrics).

A body may have `http.max_request_bytes`, and `input.push_body` once decompressed.
Bodies of a hundred events or more cost little more than bodies of one: the sync of the disk is the expensive part, \
and bodies that arrive together share it.
On a small virtual machine that the senders share, one sender gets 270 bodies of one event a second acknowledged, or \
27,000 events in bodies of a hundred, or 220,000 in bodies of 5,000 (`python benchmarks/push.py`).

## OTLP metrics

With `input.push = true` and the extra `otlp` (`pip install 'forecaster-daemon[otlp]'`) the daemon accepts \
OpenTelemetry metrics over HTTP at `/v1/metrics`, the default path of senders, as protobuf or JSON, also gzip.
This is what an OpenTelemetry Collector needs:

```yaml
exporters:
  otlphttp:
    endpoint: http://127.0.0.1:9464
```

A data point of a gauge or a sum is an event.
Sums are forecast as they are sent: a cumulative sum grows, a delta sum has the change of each interval, which is \
easier to forecast.
Histograms and summaries are not supported.

The series is the name of the metric with the attributes of the data point, the name of its scope \
(`otel.scope.name`) and the attributes of the resource that `input.push_resource` names, sorted:

```text
http.server.active_requests{http.method="GET",otel.scope.name="flask",service.name="shop"}
```

Where two have the same name, the attribute of the data point takes precedence over that of the scope, and that over \
the resource.
Attributes that are no texts are JSON; names with other signs than letters, digits, `_`, `.`, `/` and `-` are in quotes.
`input.push_metrics` selects metrics by their names; `input.fields` must have its flat form, as the default names are.

| answer | meaning |
|---|---|
| 200 | the events are synced to disk and are forecast exactly once; `partial_success` counts the data points that \
were not accepted, with a reason: those of other kinds, and those that are no event (no time, too far ahead, a name \
that is too long) |
| 400, 413, 415 | nothing of the body is accepted, and the sender does not retry: it is no request, too large, or of \
another type. JSON may have a sixteenth of `input.push_body` |
| 404, 501 | `input.push` is not set; the extra is not installed |
| 503 with Retry-After | backpressure: the spool is full (`input.push_spool`), or the daemon starts or stops |
"""


def api_page(note: str) -> str:
    """Endpoints, then the shapes of their answers."""
    document = openapi_document()
    parts = ["# JSON API\n", note, INTRODUCTION, "## Endpoints\n"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append("\n".join(_endpoint(path, method.upper(), operation)) + "\n")
    parts.append("## Shapes\n")
    for name, schema in document["components"]["schemas"].items():
        rows = [f"| `{key}` | {_type(value)} | {_cell(value)} |" for key, value in schema.get("properties", {}).items()]
        parts.append(
            "\n".join([f"### {name}\n", f"{_text(schema)}\n", "| field | type | meaning |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(parts)


def _endpoint(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path.replace('{', '&#123;').replace('}', '&#125;')}\n"
    yield f"{operation['summary']}\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | type | default | meaning |"
        yield "|---|---|---|---|"
        for one in parameters:
            default = one["schema"].get("default", "required" if one["required"] else "")
            yield f"| `{one['name']}` | {_type(one['schema'])} | {default} | {one['description']} |"
        yield ""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body `{kind}`: {content['schema']['description']}\n"
    for status, response in operation["responses"].items():
        (kind, content), *_ = response["content"].items() if "content" in response else [("", {"schema": {}})]
        shape = _type(content["schema"]) if kind == "application/json" else (f"`{kind}`" if kind else "no body")
        yield f"- {status}: {shape}" + ("" if status.startswith("2") else f". {response['description']}")


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "integer" and "minimum" in schema:
        return f"whole number, {schema['minimum']} to {schema['maximum']}" if schema.get("maximum") else "whole number"
    return {"integer": "whole number", "number": "number", "string": "text", "boolean": "yes or no"}.get(kind, kind)


def _text(schema: dict[str, Any]) -> str:
    return " ".join(schema.get("description", "").split())


def _cell(schema: dict[str, Any]) -> str:
    return _text(schema).replace("|", "\\|")
