"""Hydra's grammar: what the words of a command line mean, and what a sweep comes to, before anything is composed."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from bench.keys import ConfigError
from bench.study.sweep.library import Primary

SEARCHPATH = "hydra.searchpath"
"""The only setting of Hydra's that an override may make: more folders of configurations."""
GRAMMAR = "is no verb, and no override in Hydra's grammar; allowed are key=value, group=choice and +experiment=name"
SWEEPS = "a,b,c, choice(a,b), range(1,4) and glob(*)"
"""How the values of a sweep are written."""
NO_KEY = re.compile(r"[^\w$./@~+-]", re.ASCII)
"""A character that no key has."""
REFUSED = re.compile(r"(?:token recognition error at: |.*\binput )'(.*?)'(?: expecting|$)", re.DOTALL)
"""Finds, in the message of Hydra's parser, the text that it cannot read."""
ENDS_OF_LINES = {r"\n": "\n", r"\r": "\r"}
"""Ends of lines, by how the parser's message shows them."""


def searched(overrides: Sequence[str], primary: Primary) -> tuple[list[str], Primary]:
    """Have ``hydra.searchpath`` add its folders; return the other overrides.

    Raises:
        ConfigError: it names what is no folder of this machine.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    others = [line for line in overrides if not line.startswith(f"{SEARCHPATH}=")]
    for line in overrides:
        if line in others:
            continue
        try:
            value = OverridesParser.create().parse_override(line).value()
        except HydraException as error:
            raise ConfigError(_unreadable(line, str(error))) from None
        folders = [Path(str(name).removeprefix("file://")) for name in (value if isinstance(value, list) else [value])]
        if any(not os.path.isdir(folder) for folder in folders):
            raise ConfigError(f"{line}: there is no such folder; allowed is {SEARCHPATH}=[file:///a/folder]")
        primary = replace(primary, more=tuple(folder.absolute() for folder in folders))
    return others, primary


def parse_overrides(lines: Sequence[str], primary: Primary) -> list[Any]:
    """Parse overrides into Hydra's ``Override`` objects, one by one to tell which of them is wrong.

    Raises:
        ConfigError: one of them is no override, or none that the suite has a use for.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, parsed = OverridesParser.create(), []
    for line in lines:
        try:
            override = parser.parse_override(line)
        except HydraException as error:
            raise ConfigError(_unreadable(line, str(error))) from None
        _check_key(override)
        _check_value(override, primary)
        parsed.append(override)
    return parsed


def _unreadable(line: str, reason: str) -> str:
    """What is wrong with a word that Hydra cannot parse, and how its value is written as text."""
    key, is_override, value = line.partition("=")
    if not is_override:
        return f"{line}: {GRAMMAR}"
    if strange := NO_KEY.search(key):
        return f"{line}: {strange[0]!r} cannot be part of a key; allowed is key=value"
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    as_text = "as text, the value needs quotes: " + shlex.quote(f'{key}="{quoted}"')
    if "while evaluating" in reason:
        return f"{line}: {' '.join(reason.partition(': ')[2].split())}; {as_text}"
    refused, is_list = REFUSED.search(reason), reason.startswith("no viable")
    if refused is None or refused[1] == "<EOF>" or (is_list and line.endswith(refused[1])):
        return f"{line}: a bracket is not closed, or a value is missing; {as_text}"
    # The parser tells what it has read of a list so far, and the lexer what it has not read.
    character = refused[1][-1] if is_list else ENDS_OF_LINES.get(refused[1][:2], refused[1][0])
    return f"{line}: {character!r} is not plain text in Hydra's grammar; {as_text}"


def _check_key(override: Any) -> None:
    line, key = override.input_line, override.key_or_group
    if not key:
        raise ConfigError(f"{line}: a key is missing; allowed is key=value")
    if re.match(r"hydra(\W|$)", key):
        raise ConfigError(f"{line}: the suite launches by itself; allowed are the keys of conf/config.yaml")
    if override.package is not None:
        raise ConfigError(f"{line}: a choice has its place; allowed is {key}=value")


def _check_value(override: Any, primary: Primary) -> None:
    from hydra.core.override_parser.types import ChoiceSweep, ValueType

    line, key, value = override.input_line, override.key_or_group, override.value()
    parts = value.list if isinstance(value, ChoiceSweep) else [value] if isinstance(value, list | dict) else []
    if any(_holds_sweep(part) for part in parts):
        raise ConfigError(f"{line}: a sweep is not part of a value, nor of another sweep; allowed are {SWEEPS}")
    if override.value_type == ValueType.INTERVAL_SWEEP:
        raise ConfigError(f"{line}: an interval is no list of points; allowed are {SWEEPS}")
    choices = primary.choices(key)
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP and not value.filter(choices):
        raise ConfigError(f"{line}: matches nothing; allowed are {', '.join(choices) or 'groups, as in model=glob(*)'}")
    if choices and override.value_type == ValueType.ELEMENT and not _is_choice(value):
        raise ConfigError(f"{line}: allowed are {', '.join(choices)}")


def _holds_sweep(value: Any) -> bool:
    from hydra.core.override_parser.types import Glob, Sweep

    if isinstance(value, list | dict):
        return any(_holds_sweep(part) for part in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, Sweep | Glob)


def _is_choice(value: object) -> bool:
    """Whether a value may name a file of its group's folder."""
    if not isinstance(value, str) or value in ("", "???") or "$" in value:
        return False
    return ".." not in PurePosixPath(value).parts


# ------------------------------------------------------------------------------------------------------------- sweeps
def size(override: Any, primary: Primary) -> float:
    """How many values a sweep has, without spelling them out: :func:`math.inf` where that would not end.

    Raises:
        ConfigError: it has none.
    """
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    value: Any = override.value()
    if isinstance(value, RangeSweep):
        length = _length(value, override.input_line)
        if length < 1:
            raise ConfigError(f"{override.input_line}: has no value; the end of a range is not among its values")
        return length
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    return len(list(spell_out(override, primary)))


def _length(sweep: Any, line: str) -> float:
    start, stop, step = sweep.start, sweep.stop, sweep.step
    if not step:
        raise ConfigError(f"{line}: the step of a range may not be 0")
    if all(isinstance(number, int) for number in (start, stop, step)):
        return int(-((start - stop) // step))
    try:
        numbers = [float(number) for number in (start, stop, step)]
    except OverflowError:
        return math.inf
    if not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{line}: the numbers of a range must be finite")
    length = (numbers[1] - numbers[0]) / numbers[2]
    return math.ceil(length) if math.isfinite(length) else length


def spell_out(override: Any, primary: Primary) -> Iterator[str]:
    """An override for each of a sweep's values, as Hydra's own sweeper has them; a single value is a sweep of one."""
    from hydra.core.override_parser.types import ValueType

    if not override.is_sweep_override():
        yield override.input_line
        return
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        values = override.value().filter(primary.choices(override.key_or_group))
    else:
        values = override.sweep_string_iterator()
    for value in values:
        yield f"{override.get_key_element()}={value}"
