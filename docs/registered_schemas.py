"""The part of docs/messages.md on forecasts in Avro and Protobuf: the schemas that the daemon registers."""

from __future__ import annotations

import json
from typing import Final

from service.schemas.forecast_schemas import SCHEMAS

TEXT: Final = """### Avro and Protobuf

With `output.format = "avro"` or `"protobuf"` the topic holds forecasts and silences in Confluent's wire format: a \
zero byte, the id of the schema as four bytes, for Protobuf the place of the message in the file (`0`, of a silence \
`2 2`), and the payload.

```toml
[output]
format = "avro"
[schema_registry]
url = "https://registry.example:8081"
```

The daemon registers the schema at its start, for the subject `<topic>-value`, before it reads an event.
A registry that has it already gives the same id again, so a forecast has the same bytes after every restart.
While the registry is down the daemon waits, not ready (`schema_registry_down`); if it refuses the schema, as \
incompatible with another one of the subject, the start ends with its reason.
A later release may add fields, which have defaults: old and new records are read with either schema.

The fields are those above, and differ in this:

| | Avro | Protobuf |
| --- | --- | --- |
| times | `timestamp-millis` | `google.protobuf.Timestamp` |
| `quantiles` | arrays of float32 | a message `Row` with `values` per step, float32 |
| `quantiles` that are not exact in float32 (a large level with small changes) | in `quantiles_double`, `quantiles` is \
empty | the same |
| no forecast yet (`status` is `unknown`) | both are empty | both are empty |
| `interval`, `targets`, `anomaly`, `source.event` that JSON leaves out, or has as null | null, `targets` empty | not \
set |
| `source.run` | always there, from 1 on | always there |
| a silence | the second branch of the union | the second message of the file |

`forecaster tail` shows them as it shows JSON, with `schema_registry.url`; rejects, adoptions and positions stay as \
they are.
SQLite and standard output hold JSON, and `kafka.forecasts_per_record` joins JSON only: other combinations are refused.
[Performance](performance.md#forecasts-in-avro-and-protobuf) has the size and the time of each format.
"""


def formats_part() -> str:
    """Returns the part of the page."""
    branches = ",\n ".join(json.dumps(branch) for branch in json.loads(SCHEMAS["avro"].text))
    avro, proto = f"```json\n[{branches}]\n```\n", f"```proto\n{SCHEMAS['protobuf'].text}```\n"
    return f"{TEXT}\nAvro:\n\n{avro}\nProtobuf:\n\n{proto}"
