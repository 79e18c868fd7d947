"""Checks what was read of a file as a whole, by a model of what it has to be."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, ConfigDict, Field

SHOWN = 60
"""The most characters of a value that a message shows."""


def _moment(text: str) -> str:
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise ValueError("must be a time in ISO 8601 with its zone")
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class Checked(pydantic.BaseModel):
    """What a file holds. Keys that are not named are kept as they are: other versions write them."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    @classmethod
    def check(cls, value: object) -> None:
        """Check what was read.

        Raises:
            ValueError: it is not as it has to be; the message names the first three keys that are not.
        """
        try:
            cls.model_validate(value)
        except pydantic.ValidationError as error:
            raise ValueError("; ".join([_message(dict(detail)) for detail in error.errors()][:3])) from None


class Numbers(Checked):
    """A part all of whose other keys are numbers, or null where they were not finite."""

    __pydantic_extra__: dict[str, float | None] = Field(init=False)


def _message(detail: dict[str, Any]) -> str:
    key = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"has no {key}"
    if detail["type"] == "value_error":
        allowed = str(detail["ctx"]["error"])
        if isinstance(detail["input"], dict):
            return allowed
    else:
        allowed = re.sub("^(Input|List|String) should", "must", detail["msg"]).partition(" or instance of ")[0]
    value = repr(detail["input"])
    return f"{key}={value if len(value) <= SHOWN else value[:SHOWN] + '...'}: {allowed}".removeprefix("=")
