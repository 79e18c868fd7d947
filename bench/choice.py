"""What every choice's keys are made of, and the one error of a configuration that is wrong."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Count = Annotated[int, Field(ge=1)]
Cardinal = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


def local(path: str) -> str:
    """Refuse the URL of something that is elsewhere: a folder of that name would be made here."""
    if "://" in path:
        raise PydanticCustomError("local", "must be a path of this machine, not a URL")
    return path


Place = Annotated[str, Field(min_length=1), AfterValidator(local)]


class ConfigError(ValueError):
    """The user's configuration is wrong: one message with the key, the value and what is allowed (exit code 2)."""
