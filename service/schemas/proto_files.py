"""Makes file descriptors of Protobuf schemas: compiles .proto texts with protoc, and reads registered descriptors.

A registry holds the text of a file, or, where a client for Python or .NET registered it, the base64 of its descriptor.
protoc is the one of the package grpcio-tools. It runs as a process of its own, once for every schema, so that a text
that it cannot take never ends the daemon.
"""

from __future__ import annotations

import binascii
import importlib.util
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from forecaster import install_command
from service.errors import SchemaRegistryError
from service.schemas.schema import RegisteredSchema, SchemaError

MAIN: Final = "forecaster/schema.proto"
"""Name of the file of a schema itself; those that it refers to have the names in its imports."""
_BUNDLED: Final = "google/protobuf/"  # files that come with protoc
_SECONDS: Final = 60.0  # protoc takes a tenth of a second; a machine without time for it is no fault of the schema
_SHOWN: Final = 300  # characters of what protoc says
_COMMAND: Final = (  # -P keeps Python from importing what is in the folder
    sys.executable, "-P", "-m", "grpc_tools.protoc", "--proto_path=.", "--descriptor_set_in=../compiled",
    "--descriptor_set_out=../out", "--include_imports",
)  # fmt: skip
_LOG_LINE: Final = re.compile(r"WARNING: All log|[IWE]\d{4} ")
_KNOWN: Final = {
    "confluent/meta.proto": """syntax = "proto3";
package confluent;
import "google/protobuf/descriptor.proto";
message Meta {
  string doc = 1; map<string, string> params = 2; repeated string tags = 3; repeated Rule rules = 4;
}
message Rule { string name = 1; string doc = 2; string expr = 3; string sql = 4; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
""",
    "confluent/type/decimal.proto": """syntax = "proto3";
package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }
""",
}  # Confluent's converters and serializers import these without a reference


def file_descriptors(schema: RegisteredSchema) -> Sequence[descriptor_pb2.FileDescriptorProto]:
    """Returns the file of a schema, the last one, after all files that it imports, each after its own imports.

    Raises:
        SchemaError: it cannot be compiled; the message has the reason.
        SchemaRegistryError: the compiler did not run; call it again later.
    """
    texts, compiled, seen = dict(_KNOWN), descriptor_pb2.FileDescriptorSet(), dict[str, str]()
    for one in (*schema.references, schema):
        name = MAIN if one is schema else _checked(one.name)
        if seen.setdefault(name, one.text) != one.text:
            msg = f"got two schemas with the name {name}, expected one version of it"
            raise SchemaError(msg)
        if name in _KNOWN or name.startswith(_BUNDLED):  # everybody has them: a reference is not needed, and not used
            continue
        if (descriptor := as_descriptor(one.text)) is None:
            texts[name] = one.text
        else:
            descriptor.name = name
            compiled.file.append(descriptor)
    return _compiled(texts, compiled)


def as_descriptor(text: str) -> descriptor_pb2.FileDescriptorProto | None:
    """Returns the file of a schema that was registered as a descriptor in base64; None for a text."""
    try:
        return descriptor_pb2.FileDescriptorProto.FromString(b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return None


def _common() -> list[str]:
    """Returns the argument with the folder of google/type/, whose files need no reference either."""
    found = importlib.util.find_spec("google.type")
    places = [] if found is None else found.submodule_search_locations or []
    return [f"--proto_path={Path(place).parents[1]}" for place in places]


def _checked(name: str) -> str:
    """Returns the name of a reference, which is a path below a folder.

    Raises:
        SchemaError: it is none.
    """
    path = PurePosixPath(name)
    if not name.isprintable() or len(name) > 200 or str(path) != name or path.is_absolute() or ".." in path.parts:
        msg = f"got a reference with the name {name[:80]!r}, expected the path in its import, such as a/b.proto"
        raise SchemaError(msg)
    return name


def _compiled(
    texts: dict[str, str], compiled: descriptor_pb2.FileDescriptorSet
) -> Sequence[descriptor_pb2.FileDescriptorProto]:
    """Compiles texts, and links them with files that are descriptors already."""
    if importlib.util.find_spec("grpc_tools") is None:
        msg = f"Protobuf needs its compiler, which is not installed; expected the extra: {install_command('protobuf')}"
        raise SchemaError(msg)
    try:
        with TemporaryDirectory(prefix="forecaster-proto-") as name:
            folder = Path(name)
            for path, text in texts.items():
                (folder / "in" / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / "in" / path).write_text(text, "utf-8")
            (folder / "compiled").write_bytes(compiled.SerializeToString(deterministic=True))
            ended = subprocess.run(  # noqa: S603 - the arguments are fixed
                [*_COMMAND, *_common(), MAIN], capture_output=True, cwd=folder / "in", timeout=_SECONDS, check=False
            )
            if ended.returncode == 0:
                return list(descriptor_pb2.FileDescriptorSet.FromString((folder / "out").read_bytes()).file)
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"the compiler of Protobuf schemas did not run: {str(error)[:_SHOWN]}"
        raise SchemaRegistryError(msg) from error
    except (UnicodeEncodeError, DecodeError) as error:
        msg = f"got a Protobuf schema that cannot be read: {str(error)[:_SHOWN]}"
        raise SchemaError(msg) from None
    lines = ended.stderr.decode("utf-8", "replace").splitlines()
    said = " ".join(line for line in lines if not _LOG_LINE.match(line))[:_SHOWN]
    if ended.returncode < 0:  # killed
        msg = f"the compiler of Protobuf schemas was ended by signal {-ended.returncode}: {said}"
        raise SchemaRegistryError(msg)
    msg = f"got a Protobuf schema that cannot be compiled: {said}"
    raise SchemaError(msg)
