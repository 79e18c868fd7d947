"""From what a user types to checked configurations: Hydra composes, sweeps are spelt out, equivalent points meet."""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bench
from bench.config import ConfigError, RunConfig, parse

CONF = Path(bench.__file__).parent / "conf"
"""Of a checkout, a link to the folder beside the package."""

GRAMMAR = (
    "is no verb, and no override in Hydra's grammar; allowed are key=value, group=choice and +experiment=name, "
    "with quotes around what holds blanks or brackets: 'key=\"a b\"'"
)


@dataclass(frozen=True)
class Primary:
    """What a verb composes from."""

    file: str
    """Of ``conf``."""
    own: tuple[str, ...] = ()
    """Its top-level keys that are not a run's."""


RUN = Primary("config")


@dataclass(frozen=True)
class Point:
    """One point of a sweep."""

    config: RunConfig
    overrides: tuple[str, ...]
    """That single it out."""
    equivalents: tuple[tuple[str, ...], ...] = ()
    """What singles out the points of the sweep that would do the very same."""
    own: Mapping[str, Any] = field(default_factory=dict)
    """Plain values of :attr:`Primary.own`, unchecked."""


def compose(overrides: Sequence[str]) -> RunConfig:
    """One run's configuration.

    Raises:
        ConfigError: Hydra or the checks refuse it, or it is a sweep.
    """
    return single(overrides).config


def points(overrides: Sequence[str], multirun: bool, primary: Primary = RUN) -> list[Point]:
    """Those of a sweep, or the one that it is without ``-m``. Raises as :func:`sweep` and :func:`single` do."""
    return sweep(overrides, primary) if multirun else [single(overrides, primary)]


def single(overrides: Sequence[str], primary: Primary = RUN) -> Point:
    """The point that overrides compose, which are no sweep.

    Raises:
        ConfigError: Hydra or the checks refuse it, or it is a sweep.
    """
    given = _parse_overrides(overrides)
    for override in given:
        if override.is_sweep_override():
            message = "several values are a sweep, which needs -m; a list is written [a,b]"
            raise ConfigError(f"{override.input_line}: {message}")
    values, swept = _compose(overrides, primary)
    settled = {override.key_or_group for override in given}
    for override in _parse_overrides(swept):
        if override.key_or_group not in settled:
            raise ConfigError(f"{override.input_line}: the experiment is a sweep, which needs -m")
    return _point(values, primary, ())


def sweep(overrides: Sequence[str], primary: Primary = RUN) -> list[Point]:
    """Every different point of the Cartesian product of the command line's sweep and the experiment's, in turns.

    Of equivalent points (any staleness at K=1) the first one stays.

    Raises:
        ConfigError: Hydra or the checks refuse a point.
    """
    given = _parse_overrides(overrides)
    fixed = [override.input_line for override in given if not override.is_sweep_override()]
    swept = {override.key_or_group: override for override in given if override.is_sweep_override()}
    settled = {override.key_or_group for override in given}
    for override in _parse_overrides(_compose(fixed, primary)[1]):
        if override.key_or_group not in settled:
            swept[override.key_or_group] = override
    choices = [_spell_out(override) for override in swept.values()]
    base = _Base(fixed, primary)
    found: dict[str, Point] = {}
    for combination in itertools.product(*choices):
        point = _point(base.compose(combination), primary, combination)
        name = point.config.hash() + json.dumps(point.own)
        if first := found.get(name):
            found[name] = replace(first, equivalents=(*first.equivalents, combination))
        else:
            found[name] = point
    return interleave(list(found.values()))


def _point(values: Mapping[str, Any], primary: Primary, overrides: tuple[str, ...]) -> Point:
    of_run = {key: value for key, value in values.items() if key not in primary.own}
    return Point(parse(of_run), overrides, own={key: values[key] for key in primary.own})


def interleave(points: Sequence[Point]) -> list[Point]:
    """Repeat by repeat (seed), as a machine's speed drifts: methods are compared within a repeat.

    Each repeat but the first has a random order of its own, drawn from its seed, so that no point always follows
    the same other one.
    """
    repeats: dict[int, list[Point]] = {}
    for point in points:
        repeats.setdefault(point.config.seed, []).append(point)
    for seed, repeat in list(repeats.items())[1:]:
        random.Random(seed).shuffle(repeat)
    return [point for repeat in repeats.values() for point in repeat]


class _Base:
    """Composes a sweep's points. Hydra takes a fifth of a second, so it is asked once for each choice of groups."""

    def __init__(self, fixed: Sequence[str], primary: Primary) -> None:
        self._fixed = fixed
        self._primary = primary
        self._composed: dict[tuple[str, ...], Any] = {}

    def compose(self, combination: Sequence[str]) -> dict[str, Any]:
        """The plain values of one point."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        parsed = _parse_overrides(combination)
        values = [override for override in parsed if _is_value(override)]
        choices = tuple(override.input_line for override in parsed if not _is_value(override))
        if choices not in self._composed:
            self._composed[choices] = _hydra([*self._fixed, *choices], self._primary)[0]
        config = copy.deepcopy(self._composed[choices])
        try:
            for override in values:
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
            return _plain(config)
        except OmegaConfBaseException:
            # Hydra's message is the one that is told.
            return _compose([*self._fixed, *combination], self._primary)[0]


def _is_value(override: Any) -> bool:
    """Whether an override sets a value that is there, which needs no composing."""
    return not (override.is_add() or override.is_delete() or override.package or _choices(override.key_or_group))


def _parse_overrides(overrides: Sequence[str]) -> list[Any]:
    """Hydra's ``Override`` of each, parsed one by one to tell which of them is wrong."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, parsed = OverridesParser.create(), []
    for line in overrides:
        try:
            override = parser.parse_override(line)
        except HydraException:
            raise ConfigError(f"{line}: {GRAMMAR}") from None
        key = override.key_or_group
        if not key:
            raise ConfigError(f"{line}: a key is missing; allowed is key=value")
        if key.startswith(("hydra.", "hydra/")):
            raise ConfigError(f"{line}: the suite launches by itself; allowed are the keys of conf/config.yaml")
        single = not (override.is_sweep_override() or override.is_delete())
        if single and _choices(key) and not isinstance(override.value(), str):
            raise ConfigError(f"{line}: allowed are {', '.join(_choices(key))}")
        parsed.append(override)
    return parsed


def _choices(group: str) -> list[str]:
    """What a group of ``conf`` has to choose from; nothing if there is no such group."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def _spell_out(override: Any) -> list[str]:
    """An override for each of a sweep's values; a single value is a sweep of one."""
    if not override.is_sweep_override():
        return [override.input_line]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _compose(overrides: Sequence[str], primary: Primary) -> tuple[dict[str, Any], list[str]]:
    """The plain values, and the sweep that an experiment asks for (``hydra.sweeper.params``), as overrides."""
    from omegaconf.errors import OmegaConfBaseException

    config, sweeps = _hydra(overrides, primary)
    try:
        return _plain(config), sweeps
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error, primary)) from None


def _plain(config: Any) -> dict[str, Any]:
    """A run's keys. The rates of a model are the default of ``lr.gamma0``, and no key of the run."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("times", _times, replace=True)
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    plain["model"].pop("rates", None)
    return plain


def _times(factor: float, rate: Any) -> Any:
    """Their product; what is no number is left to the checks."""
    return factor * rate if isinstance(rate, int | float) else rate


def _hydra(overrides: Sequence[str], primary: Primary) -> tuple[Any, list[str]]:
    """What Hydra composes, its own settings apart, and the sweep among these."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            values = hydra.compose(primary.file, list(overrides), return_hydra_config=True)
        sweeps = [f"{key}={value}" for key, value in (values.hydra.sweeper.params or {}).items()]
        OmegaConf.set_struct(values, False)
        del values["hydra"]
        OmegaConf.set_struct(values, True)
        return values, sweeps
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error, primary)) from None


def _keys(path: Sequence[str], primary: Primary) -> list[str]:
    """The keys that the default configuration has in a group."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(_hydra([], primary)[0])
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return sorted(values) if isinstance(values, dict) else []


def _one_line(error: Exception, primary: Primary) -> str:
    """Hydra's message in the suite's words; the search path that it adds says nothing to a user."""
    text = str(error)
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        *path, last = unknown[1].split(".")
        allowed = _keys(path, primary)
        close = [f"+{last}"] if _choices(unknown[1]) else difflib.get_close_matches(last, allowed, 1)
        hint = f"did you mean {'.'.join([*path, *close])}? " if close else ""
        return f"{unknown[1]}: there is no such key; {hint}allowed are {', '.join(allowed)}"
    choice = re.match(r"In '.*': Could not find '([^']+)/([^'/]+)'", text)
    if choice:
        group, _, folder = choice[1].partition("/")
        name, inside = f"{folder}/{choice[2]}".lstrip("/"), f"{folder}/".lstrip("/")
        allowed = [inside + known for known in _choices(choice[1])]
        return f"{group}={name!r}: allowed are {', '.join(allowed) or 'none yet'}"
    missing = re.match(r"Interpolation key '([^']+)' not found\s+full_key: (\S+)", text)
    rates = re.search(r"\bmodel\.rates\.(\w+)", text)
    if rates:
        return f"lr.gamma0: this model has no default rate for optimizer={rates[1]}; allowed is lr.gamma0=0.01, say"
    if missing:
        return f"{missing[2]}=${{{missing[1]}}}: there is no key {missing[1]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    useful = itertools.takewhile(
        lambda line: not line.startswith(("Config search path", "full_key", "set_struct")), lines
    )
    return " ".join(useful)
