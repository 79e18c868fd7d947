"""From what a user types to checked configurations: Hydra composes, sweeps are spelt out, equivalent points meet."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.choice import choose
from bench.config import RunConfig, parse
from bench.keys import ConfigError, parse_as
from bench.record.folder import flatten
from bench.study.sweep.composition import Base, composed, text_of
from bench.study.sweep.grammar import parse_overrides, searched, size, spell_out
from bench.study.sweep.library import RUN, Primary
from bench.study.sweep.settings import SETTINGS_KEYS, Settings
from bench.task.data.contract import Data
from bench.task.judgement import Judgement

MOST_POINTS = 100_000
"""The most points that a sweep may have; more are a slip of the hand. To compose so many takes minutes."""


@dataclass(frozen=True)
class Point:
    """One point of a sweep."""

    config: RunConfig
    settings: Settings
    """Those of the whole sweep."""
    overrides: tuple[str, ...]
    """The overrides that single the point out."""
    equivalents: tuple[tuple[str, ...], ...] = ()
    """The overrides of the sweep's other points that would do the very same."""
    own: Mapping[str, Any] = field(default_factory=dict)
    """Plain values of :attr:`Primary.own`, unchecked."""

    @property
    def name(self) -> str:
        """What equivalent points have in common, and no others."""
        return self.config.hash() + json.dumps(self.own)


def compose(overrides: Sequence[str], primary: Primary = RUN) -> RunConfig:
    """Compose one run's configuration.

    Raises:
        ConfigError: Hydra or the checks refuse it, or it is a sweep.
    """
    return single(overrides, primary).config


def points(overrides: Sequence[str], multirun: bool, primary: Primary = RUN) -> list[Point]:
    """The points of a sweep, or the single one without ``-m``. Raises as :func:`sweep` and :func:`single` do.

    The file of records that an experiment names is of its points alone: where others are asked for, none is kept.
    """
    found = sweep(overrides, primary) if multirun else [single(overrides, primary)]
    if found[0].settings.records is None or _keeps(found, overrides, primary):
        return found
    return [replace(point, settings=replace(point.settings, records=None)) for point in found]


def _keeps(found: Sequence[Point], overrides: Sequence[str], primary: Primary) -> bool:
    """Whether points belong in the file of records that is named with them."""
    typed, primary = searched(overrides, primary)
    given = parse_overrides(typed, primary)
    experiment = [override.input_line for override in given if override.key_or_group == "experiment"]
    if len(experiment) == len(given) or any(override.key_or_group == "records" for override in given):
        return True
    # How runs are kept and followed is in other values too: where a study's database lies follows from runs_dir.
    settings = [override.input_line for override in given if override.key_or_group.partition(".")[0] in SETTINGS_KEYS]
    own = {point.name for point in sweep([*experiment, *settings], primary)}
    return own >= {point.name for point in found}


def data_of(overrides: Sequence[str], primary: Primary = RUN) -> Data:
    """Compose the data of a run, whatever model is to learn from it.

    Raises:
        ConfigError: Hydra or the checks refuse it.
    """
    overrides, primary = searched(overrides, primary)
    _without_sweep(overrides, primary)
    return choose(Data, composed(overrides, primary)[0][Data.group])


def settings_of(overrides: Sequence[str], primary: Primary = RUN) -> Settings:
    """Compose how a sweep's runs are kept and followed, without spelling out its points.

    Raises:
        ConfigError: Hydra or the checks refuse it.
    """
    overrides, primary = searched(overrides, primary)
    return _settings(composed(overrides, primary)[0])


def single(overrides: Sequence[str], primary: Primary = RUN) -> Point:
    """The point that overrides compose, which are no sweep.

    Raises:
        ConfigError: Hydra or the checks refuse it, or it is a sweep.
    """
    overrides, primary = searched(overrides, primary)
    given = _without_sweep(overrides, primary)
    values, swept = composed(overrides, primary)
    settled = {override.key_or_group for override in given}
    for override in parse_overrides(swept, primary):
        if override.key_or_group not in settled:
            raise ConfigError(f"{override.input_line}: the experiment is a sweep, which needs -m")
    return _point(values, primary, ())


def sweep(overrides: Sequence[str], primary: Primary = RUN) -> list[Point]:
    """Every different point of the Cartesian product of the command line's sweep and the experiment's, in turns.

    Of equivalent points (any staleness at K=1) the first one stays; of a key that is given twice, the last, and where
    that one stands.

    Raises:
        ConfigError: Hydra or the checks refuse a point; there are too many, or none.
    """
    overrides, primary = searched(overrides, primary)
    typed = parse_overrides(overrides, primary)
    last = {override.get_key_element(): override for override in typed}
    given = [override for override in typed if last[override.get_key_element()] is override]
    fixed = [override.input_line for override in given if not override.is_sweep_override()]
    swept = [override for override in given if override.is_sweep_override()]
    settled = {override.key_or_group for override in given}
    base = Base(fixed, primary)
    of_experiment = parse_overrides(base.point(())[1], primary)
    swept += [override for override in of_experiment if override.key_or_group not in settled]
    _check_number(swept, primary)
    found: dict[str, Point] = {}
    for combination in itertools.product(*(spell_out(override, primary) for override in swept)):
        point = _point(base.point(combination)[0], primary, combination)
        _check_one_sweep(next(iter(found.values()), point), point)
        if first := found.get(point.name):
            found[point.name] = replace(first, equivalents=(*first.equivalents, combination))
        else:
            found[point.name] = point
    return interleave(list(found.values()))


def written(overrides: Sequence[str], primary: Primary = RUN) -> str:
    """One run's configuration as YAML, before it is checked (``--cfg job``).

    Raises:
        ConfigError: Hydra refuses it, or it is a sweep.
    """
    overrides, primary = searched(overrides, primary)
    _without_sweep(overrides, primary)
    return text_of(overrides, primary)


def _without_sweep(overrides: Sequence[str], primary: Primary) -> list[Any]:
    """Parse overrides that have one value each.

    Raises:
        ConfigError: one of them is none, or a sweep.
    """
    given = parse_overrides(overrides, primary)
    for override in given:
        if override.is_sweep_override():
            message = "several values are a sweep, which needs -m; a list is written [a,b]"
            raise ConfigError(f"{override.input_line}: {message}")
    return given


def _check_number(swept: Sequence[Any], primary: Primary) -> None:
    """Count a sweep's points before any is spelt out.

    Raises:
        ConfigError: there are too many.
    """
    number = math.prod(size(override, primary) for override in swept)
    if number > MOST_POINTS:
        words = " ".join(override.input_line for override in swept)
        count = f"{number:,}" if math.isfinite(number) else "endlessly many"
        raise ConfigError(f"{words}: {count} points; a sweep may have at most {MOST_POINTS:,}")


def _check_one_sweep(first: Point, other: Point) -> None:
    """Check that two points agree on how runs are started, followed and kept, which is a matter of the whole sweep.

    Raises:
        ConfigError: they do not.
    """
    keys, others = (flatten(point.settings.values()) for point in (first, other))
    for key, value in others.items():
        if value != keys.get(key, value):
            message = f"and {key}={keys[key]!r} in another point of the sweep; allowed is one value for all"
            raise ConfigError(f"{key}={value!r} {message}")


def _point(values: Mapping[str, Any], primary: Primary, overrides: tuple[str, ...]) -> Point:
    config = parse({key: value for key, value in values.items() if key not in {*primary.own, *SETTINGS_KEYS}})
    settings = _settings(values)
    settings.check_records()
    settings.check_run(config)
    quality = Judgement.of(config.data.task).quality
    quality.check("report.margin", settings.report.margin)
    quality.check("report.target", settings.report.target)
    return Point(config, settings, overrides, own={key: values[key] for key in primary.own})


def _settings(values: Mapping[str, Any]) -> Settings:
    return parse_as(Settings, {key: value for key, value in values.items() if key in SETTINGS_KEYS})


def interleave(points: Sequence[Point]) -> list[Point]:
    """Order points repeat by repeat (seed), as a machine's speed drifts: methods are compared within a repeat.

    Each repeat but the first has a random order of its own, drawn from its seed, so that no point always follows
    the same other one.
    """
    repeats: dict[int, list[Point]] = {}
    for point in points:
        repeats.setdefault(point.config.seed, []).append(point)
    for seed, repeat in list(repeats.items())[1:]:
        random.Random(seed).shuffle(repeat)
    return [point for repeat in repeats.values() for point in repeat]
