"""What Hydra makes of overrides: plain values, or one message in the suite's words."""

from __future__ import annotations

import copy
import functools
import itertools
import operator
import re
from collections.abc import Sequence
from typing import Any

from bench.keys import ConfigError, unknown_key
from bench.study.sweep.grammar import parse_overrides
from bench.study.sweep.library import CONF, Primary


def composed(overrides: Sequence[str], primary: Primary) -> tuple[dict[str, Any], list[str]]:
    """The plain values, and the sweep that an experiment asks for (``hydra.sweeper.params``), as overrides.

    Raises:
        ConfigError: Hydra refuses the overrides.
    """
    return Base((), primary).point(overrides)


def text_of(overrides: Sequence[str], primary: Primary) -> str:
    """What Hydra composes, as it prints it itself: YAML, in which references stay what they are.

    Raises:
        ConfigError: Hydra refuses the overrides.
    """
    from omegaconf import OmegaConf

    return str(OmegaConf.to_yaml(_hydra(overrides, primary)[0]))


class Base:
    """Composes points. Hydra takes a tenth of a second, so it is asked once for each choice of groups."""

    def __init__(self, fixed: Sequence[str], primary: Primary) -> None:
        self._fixed = fixed
        self._primary = primary
        self._composed: dict[tuple[str, ...], tuple[Any, list[str]]] = {}
        self._parsed: dict[str, Any] = {}

    def point(self, combination: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """The plain values of one point, and the sweep that its experiment asks for.

        Raises:
            ConfigError: Hydra refuses it.
        """
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        parsed = [self._parse(line) for line in combination]
        values = [override for override in parsed if _is_value(override, self._primary)]
        choices = tuple(override.input_line for override in parsed if override not in values)
        try:
            if choices not in self._composed:
                self._composed[choices] = _hydra([*self._fixed, *choices], self._primary)
            config, sweeps = copy.deepcopy(self._composed[choices])
            for override in values:
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
            return _plain(config), sweeps
        except (ConfigError, OmegaConfBaseException):
            # Hydra's message about all of it is the one that is told.
            return _all_at_once([*self._fixed, *combination], self._primary)

    def _parse(self, line: str) -> Any:
        if line not in self._parsed:
            self._parsed[line] = parse_overrides([line], self._primary)[0]
        return self._parsed[line]


def _is_value(override: Any, primary: Primary) -> bool:
    """Whether an override sets a value that is there, which needs no composing."""
    is_plain = not (override.is_add() or override.is_delete() or override.package)
    return is_plain and not primary.choices(override.key_or_group)


def _all_at_once(overrides: Sequence[str], primary: Primary) -> tuple[dict[str, Any], list[str]]:
    from omegaconf.errors import OmegaConfBaseException

    config, sweeps = _hydra(overrides, primary)
    try:
        return _plain(config), sweeps
    except OmegaConfBaseException as error:
        raise ConfigError(_unresolved(error, config)) from None


def _plain(config: Any) -> dict[str, Any]:
    """Make a run's keys plain. The rates of a model are the default of ``lr.gamma0``, and no key of the run."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("times", _times, replace=True)
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    if isinstance(model := plain.get("model"), dict):
        model.pop("rates", None)
    return plain


def _times(factor: float, rate: Any) -> Any:
    """Multiply a rate by a factor; what is no number is left to the checks."""
    return factor * rate if isinstance(rate, int | float) else rate


def _hydra(overrides: Sequence[str], primary: Primary) -> tuple[Any, list[str]]:
    """Have Hydra compose; return what it composes, its own settings apart, and the sweep among these."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = _all_of_hydra(overrides, primary)
        sweeps = [f"{key}={value}" for key, value in (values.hydra.sweeper.params or {}).items()]
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_refused(error, overrides, primary)) from None
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise ConfigError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{' '.join(overrides)}: a file of these refers to itself") from None
    except AttributeError:
        # Hydra looks into settings of its own that a file has made null.
        raise ConfigError(f"{' '.join(overrides)}: of hydra, a file may set hydra.sweeper.params alone") from None
    for group, choice in values.hydra.runtime.choices.items():
        primary.check_choice(group, str(choice))
    OmegaConf.set_struct(values, False)
    del values["hydra"]
    OmegaConf.set_struct(values, True)
    return values, sweeps


def _all_of_hydra(overrides: Sequence[str], primary: Primary) -> Any:
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.types import Quote, QuotedString

    GlobalHydra.instance().clear()
    _, *places = primary.places
    users = [QuotedString(f"file://{place}", Quote.single).with_quotes() for place in places]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        words = [f"hydra.searchpath=[{','.join(users)}]", *overrides]
        return hydra.compose(primary.file, words, return_hydra_config=True)


def _keys(path: Sequence[str], overrides: Sequence[str], primary: Primary) -> list[str]:
    """The keys that a group has with the choices that were made, or by default where these do not compose."""
    from omegaconf import OmegaConf

    choices = [each.input_line for each in parse_overrides(overrides, primary) if not _is_value(each, primary)]
    if choices == [*overrides]:
        choices = []
    try:
        config = _hydra(choices, primary)[0]
    except ConfigError:
        config = _hydra([], primary)[0]
    values: Any = OmegaConf.to_container(config)
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return sorted(values) if isinstance(values, dict) else []


# ----------------------------------------------------------------------------------------------------------- messages
def _refused(error: Exception, overrides: Sequence[str], primary: Primary) -> str:
    """Hydra's message in the suite's words; the search path that it adds says nothing to a user."""
    text = str(error)
    if unknown := re.match(r"Could not override '([^']+)'", text):
        if primary.choices(unknown[1]):
            return unknown_key(unknown[1], _keys([], overrides, primary), f"+{unknown[1]}")
        *path, _ = unknown[1].split(".")
        return unknown_key(unknown[1], _keys(path, overrides, primary))
    if choice := re.match(r"In '.*': Could not find '([^']*)/([^'/]*)'", text):
        group, _, folder = choice[1].partition("/")
        name, inside = f"{folder}/{choice[2]}".lstrip("/"), f"{folder}/".lstrip("/")
        allowed = [inside + known for known in primary.choices(choice[1])]
        return f"{group}={name!r}: allowed are {', '.join(allowed) or 'none yet'}"
    if merged := re.match(r"Error merging override (.*)", text):
        return f"{merged[1]}: not what follows ${{ in an interpolation: {_first_lines(str(error.__cause__))}"
    return _first_lines(text)


def _unresolved(error: Any, config: Any) -> str:
    """The key whose value refers to what is not there, with that value as it was given."""
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue

    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}: a value is missing"
    path = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", error.full_key)]
    given = functools.reduce(operator.getitem, path, OmegaConf.to_container(config))  # type: ignore[arg-type]
    reason = _first_lines(str(error))
    if rates := re.search(r"\bmodel\.rates\.(\w+)", reason):
        return f"lr.gamma0: this model has no default rate for optimizer={rates[1]}; allowed is lr.gamma0=0.01, say"
    if missing := re.match(r"Interpolation key '([^']+)' not found", reason):
        reason = f"there is no key {missing[1]}"
    if re.match("Recursive interpolation|Interpolation to parent", reason):
        reason = "it refers to itself"
    return f"{error.full_key}={given}: {reason.rpartition('while resolving interpolation: ')[2]}"


def _first_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    useful = itertools.takewhile(
        lambda line: not line.startswith(("Config search path", "full_key", "set_struct")), lines
    )
    return " ".join(useful)
