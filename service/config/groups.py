"""`[[group]]`: settings of their own for series; the first group of which a pattern matches a series has it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from service.config.base import Section, Texts
from service.config.library import AnomalySettings, ModelSettings
from service.config.output import OutputConfig
from service.config.retrain import RetrainConfig

DEFAULT_GROUP: Final = "default"
"""How the group of the series that no `[[group]]` matches is shown; its name in the program is ""."""

MOST_GROUPS: Final = 20
"""Groups of a configuration: each has a network, a table of rows and a history, and values of the label `group`."""

# Keys of [output] that all groups share: a unit goes to one sink, and the bounds are those of its file.
_OF_DAEMON: Final = ("sink", "format", "path", "keep", "max_bytes")


def _own(kind: type[BaseModel], section: str) -> Any:
    return Field(
        default_factory=lambda: kind.model_validate({}),
        description=f"Keys of [{section}] for these series; all others are as in [{section}].",
    )


class GroupConfig(Section):
    """A group of series with settings of its own, and with a network, a history and a champion of its own."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")] = Field(
        description="Name of the group, in metrics, models and the API: lower-case letters, digits, - and _."
    )
    match: Texts = Field(
        min_length=1,
        description='Series of the group: patterns with * and ?, such as "shop.*". A series belongs to the first group '
        "of which a pattern matches it.",
    )
    model: ModelSettings = _own(ModelSettings, "model")
    anomaly: AnomalySettings = _own(AnomalySettings, "anomaly")
    retrain: RetrainConfig = _own(RetrainConfig, "retrain")
    output: OutputConfig = _own(OutputConfig, "output")

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == DEFAULT_GROUP:
            msg = f'expected another name: "{DEFAULT_GROUP}" is that of the series that no group matches'
            raise ValueError(msg)
        return name

    @field_validator("output")
    @classmethod
    def _of_series(cls, output: OutputConfig) -> OutputConfig:
        if shared := sorted(output.model_fields_set & set(_OF_DAEMON)):
            msg = f"got {', '.join(shared)}, expected keys of the forecasts: all groups share {', '.join(_OF_DAEMON)}"
            raise ValueError(msg)
        return output

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Writes what is set only, so that what is read back inherits the same keys."""
        found: dict[str, Any] = handler(self)
        for name, section in self.own.items():
            found[name] = {key: value for key, value in found[name].items() if key in section.model_fields_set}
        return {name: value for name, value in found.items() if value}

    @property
    def own(self) -> dict[str, Section]:
        """The sections of the group, by name; only what `model_fields_set` of them has is set."""
        return {"model": self.model, "anomaly": self.anomaly, "retrain": self.retrain, "output": self.output}


def shown_group(name: str) -> str:
    """Returns the name of a group in metrics, logs and answers."""
    return name or DEFAULT_GROUP
