"""What keys are made of, how a whole set of them is checked, and what a user is told of one that is wrong."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import pydantic
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
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

Checked = TypeVar("Checked")

TOLD = 3
"""Messages that a user is told at once, at most."""


class ConfigError(ValueError):
    """The user's configuration is wrong: one message with the key, the value and what is allowed (exit code 2)."""


def local(path: str) -> str:
    """Refuse the URL of something that is elsewhere: a folder of that name would be made here."""
    if "://" in path:
        raise PydanticCustomError("local", "must be a path of this machine, not a URL")
    return path


Place = Annotated[str, Field(min_length=1), AfterValidator(local)]


def parse_as(kind: type[Checked], values: Mapping[str, Any], above: str = "") -> Checked:
    """Check plain values and return them as an instance of a dataclass.

    Args:
        kind: a frozen dataclass with ``STRICT`` as its ``__pydantic_config__``.
        values: what JSON can hold.
        above: the dotted key that the values are found under, for messages.

    Raises:
        ConfigError: a key is missing, unknown, of the wrong type or out of range; its cause is what the class itself
            has raised, if it has.
    """
    try:
        checked: Checked = _adapter(cast(Hashable, kind)).validate_json(json.dumps(dict(values)))
        return checked
    except pydantic.ValidationError as error:
        details: list[dict[str, Any]] = [dict(detail) for detail in error.errors()]
        messages = dict.fromkeys(_message(detail, values, kind, above) for detail in details)
        raised = [cause for detail in details if isinstance(cause := detail.get("ctx", {}).get("error"), Exception)]
        raise ConfigError("; ".join(list(messages)[:TOLD])) from next(iter(raised), None)


def unknown_key(key: str, allowed: Sequence[str], meant: str = "", **given: object) -> str:
    """What a user is told of a key that does not exist.

    Args:
        allowed: the keys beside it.
        meant: what the user will have meant, if it is not the key that is spelt most like it.
        given: its value, where that is known.
    """
    *path, last = key.split(".")
    told = "".join(f"{key}={value!r}" for value in given.values()) or key
    close = [".".join([*path, name]) for name in difflib.get_close_matches(last, allowed, 1)]
    hint = f"did you mean {name}? " if (name := meant or "".join(close)) else ""
    return f"{told}: there is no such key" + (f"; {hint}allowed are {', '.join(allowed)}" if allowed else "")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Built once: that takes a hundred times as long as to check with it."""
    return TypeAdapter(kind)


def _message(detail: dict[str, Any], values: Mapping[str, Any], kind: type, above: str) -> str:
    """``key=value: what is allowed``, from one of pydantic's error details."""
    if detail["type"] == "choice":
        return str(detail["ctx"]["message"])
    if detail["loc"][:1] == ("partition",) and "partition" in values:
        # A union: pydantic says of each member why it does not fit.
        return f"partition={values['partition']!r}: must be 'measured', 'counted' or a list of layers, e.g. [4]"
    key = ".".join([*filter(None, [above]), *_walk(kind, detail["loc"])[0]])
    if detail["type"] == "value_error":
        return f"{key}.".lstrip(".") + str(detail["ctx"]["error"])
    if detail["type"] == "extra_forbidden" or detail["type"] == "unexpected_keyword_argument":
        return unknown_key(key, _keys(_walk(kind, detail["loc"][:-1])[1]), given=detail["input"])
    if detail["type"] == "missing":
        return f"{key}: a value is missing"
    allowed = re.sub("^(Input|List|String) should", "must", detail["msg"]).replace(" after validation", "")
    return f"{key}={detail['input']!r}: {allowed}"


def _walk(kind: Any, location: Sequence[object]) -> tuple[list[str], Any]:
    """Follow pydantic's location into a dataclass: the parts of it that a user has typed, and the type that is there.

    The others are names of types.
    """
    typed = []
    for part in location:
        kind = get_type_hints(kind).get(str(part)) if is_dataclass(kind) else None
        if isinstance(part, int) or not str(part).startswith(("literal[", "list[", "constrained-", "function-")):
            typed.append(str(part))
    return typed, kind


def _keys(kind: Any) -> list[str]:
    return sorted(field.name for field in fields(kind)) if is_dataclass(kind) else []
