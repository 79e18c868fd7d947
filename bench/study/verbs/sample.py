"""Let a finished run's language model write some text.

``run`` is the run's hash, as every table has it; ``prompt`` is what the text begins with, ``length`` the tokens that
are drawn, ``temperature`` how freely (near 0: nearly always the likeliest), and ``seed`` which draw it is.

Examples::

    python -m bench sample run=<hash>                        400 tokens by a run of model=gpt
    python -m bench sample run=<hash> prompt=ROMEO: length=1000 temperature=0.8 seed=1
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.config import RunConfig, parse_recorded
from bench.keys import ConfigError, Count, Place, Positive, Seed, Text
from bench.record.folder import RecordError, RunFolder
from bench.record.runs_dir import run_folders
from bench.study.launcher.check import ready
from bench.system.call import Call
from bench.task.language import TOKENS

DEFAULT_RUNS = "runs"


@dataclass(frozen=True)
class Sample:
    """What is asked for."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)
    run: Text
    """The run's hash, or its first characters."""
    runs_dir: Place = DEFAULT_RUNS
    prompt: str = ""
    length: Count = 400
    temperature: Positive = 1.0
    seed: Seed = 0


def main(arguments: argparse.Namespace) -> int:
    """Print the text.

    Raises:
        ConfigError: a key is wrong, there is no such run, or its network foretells no tokens.
    """
    from bench.engine.sampling import sampled

    asked = parsed(arguments.overrides)
    folder, config = _found(asked)
    prepared, _ = ready(config.data)
    given = (replace(config, seed=asked.seed), prepared, folder.model)
    try:
        text: str = Call(sampled, *given, asked.prompt, asked.length, asked.temperature).result()
    except ValueError as error:
        raise ConfigError(f"prompt={asked.prompt!r}: {error}") from None
    print(text)
    return 0


def parsed(words: list[str]) -> Sample:
    """What words such as ``length=100`` ask for.

    Raises:
        ConfigError: one is none, or a key is missing, unknown or out of range.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word}: must be a key with its value, such as run=<hash>")
        values[key] = value
    try:
        return TypeAdapter(Sample).validate_python(values)
    except ValidationError as error:
        detail = error.errors()[0]
        key = str(detail["loc"][0])
        if detail["type"] == "missing":
            raise ConfigError("run: a value is missing; allowed is the hash of a finished run, run=<hash>") from None
        if key not in Sample.__dataclass_fields__:
            raise ConfigError(
                f"{key}: there is no such key; allowed are {', '.join(Sample.__dataclass_fields__)}"
            ) from None
        raise ConfigError(f"{key}={values[key]!r}: {detail['msg'].replace('Input should', 'must')}") from None


def _found(asked: Sample) -> tuple[RunFolder, RunConfig]:
    """The folder of the run, and its configuration.

    Raises:
        ConfigError: there is no such run with a result, or several, or it is of another task.
    """
    said = f"run={asked.run!r}"
    named = [each for each in run_folders(Path(asked.runs_dir)) if each.path.name.startswith(asked.run)]
    if len(named) != 1:
        names = ", ".join(each.path.name for each in named[:5]) or "none begins so"
        raise ConfigError(f"{said}: must name one run of runs_dir={asked.runs_dir!r}; {names}")
    (folder,) = named
    try:
        record = folder.read_record()
    except RecordError as error:
        raise ConfigError(f"{said}: {error}") from None
    if record is None or not folder.model.exists():
        raise ConfigError(f"{said}: has no result in {folder.path}; allowed is a finished run")
    config = parse_recorded(record["config"])
    if config.data.task.unit != TOKENS.unit:
        raise ConfigError(
            f"{said}: learned of {config.data.task.unit}s; allowed is a run that foretells {TOKENS.unit}s"
        )
    return folder, config
