"""A choice: what one group of a configuration names, such as a model, a correction or a learning rate.

A choice is a frozen dataclass of its keys that says all of itself: what the keys are, what it refuses of the rest of
the run, what it does, what a study may search of it, and its source. It fulfils its group's *contract*, a class in the
file ``contract.py`` of the group's folder. The suite's own choices lie beside that file and are found there; one of a
user's own is named by its dotted path::

    correction=shrink          conf/correction/shrink.yaml: name: shrink, and bench/rule/correction/shrink.py
    correction=halve           mine/correction/halve.yaml: _target_: mypackage.rules.Halve
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import pkgutil
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, TypeVar, cast, get_type_hints

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from bench.keys import STRICT, ConfigError, parse_as
from bench.origin import digest_of, file_of, is_own, start_of, target_of, told

TARGET, SOURCE, NAME = "_target_", "_source_", "name"
"""Beside a choice's own keys in plain values: where a user's class lies, its source file's digest, and its name."""


class Number(Protocol):
    """What suggests a number for a study's trial, from the study's range of that name."""

    def __call__(self, name: str, log: bool = False) -> float: ...


class Choice:
    """What one group of a configuration names. Its contract says the ``group``, and it says its own ``name``."""

    __pydantic_config__ = STRICT
    group: ClassVar[str]
    """The key of a run's configuration that names it."""
    name: ClassVar[str]
    """What is typed to choose it, and what tables call it."""
    place: ClassVar[int] = 100
    """Where it stands among the others in help, messages and studies: by increasing numbers, then by name."""

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """What a study may search of it, by names that ``conf/tune.yaml`` has no range of."""

    def refuses(self, run: Any) -> str | None:  # noqa: ARG002  (its contract says what a run is)
        """Say in one sentence what it does not go with in the rest of the run; None if it goes with all of it."""
        return None

    def outside(self, run: Any) -> str | None:  # noqa: ARG002
        """Say in one sentence why no theorem of convergence speaks of a run with it; None if it is no reason."""
        return None

    def try_out(self, run: Any) -> None:
        """Call once what it says, so that a user's own fails before anything is written.

        Raises:
            Exception: whatever a user's own code raises; ValueError if what it says cannot be.
        """

    def values(self) -> dict[str, Any]:
        """Its name and keys as plain values; of a user's own, also where its class lies and its source's digest.

        They are what :func:`choose` takes, what a record holds, and what the run's hash takes in.
        """
        kind = type(self)
        source = {} if is_own(kind) else {SOURCE: digest_of(kind)}
        return {**named(kind), **source, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Have pydantic call :func:`choose` where a field's type is a contract."""
        return handler(source) if hasattr(cls, "name") else core_schema.no_info_plain_validator_function(cls._chosen)

    @classmethod
    def _chosen(cls, values: object) -> Choice:
        try:
            return choose(cls, values)
        except ConfigError as error:
            raise PydanticCustomError("choice", "{message}", {"message": str(error)}) from None


Chosen = TypeVar("Chosen", bound=Choice)
Found = TypeVar("Found")


def choose(contract: type[Chosen], values: object) -> Chosen:
    """The choice that plain values name, with their keys.

    Raises:
        ConfigError: there is no such choice, it cannot be imported or built, or a key of it is wrong.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{contract.group}={values!r}: must be one of {_listed(contract)} with its keys")
    kind = kind_of(contract, values)
    keys = {key: value for key, value in values.items() if key not in (TARGET, SOURCE, NAME)}
    with telling(kind):
        try:
            return parse_as(kind, keys, contract.group)
        except ConfigError as error:
            if error.__cause__ is None or is_own(kind):
                raise
            raise error.__cause__ from None


def choices_of(keys: Any) -> list[Choice]:
    """What the groups among the keys of a dataclass name."""
    return [value for value in vars(keys).values() if isinstance(value, Choice)]


def contracts_of(keys: type) -> list[type[Choice]]:
    """The contracts of the groups among the keys of a dataclass."""
    kinds = get_type_hints(keys).values()
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Choice)]


def plain_values(keys: Any) -> dict[str, Any]:
    """All keys of a dataclass as plain values, choices as :meth:`Choice.values` says them."""
    return asdict(keys) | {choice.group: choice.values() for choice in choices_of(keys)}


def check_together(run: Any, asked: Iterable[Choice]) -> None:
    """Hear of each choice whether it goes with the rest of a run.

    Raises:
        ConfigError: one of them refuses it.
    """
    for choice in asked:
        with telling(type(choice)):
            if refusal := choice.refuses(run):
                raise ConfigError(f"{choice.group}={choice.name} {refusal}")


def kind_of(contract: type[Chosen], values: Mapping[str, Any]) -> type[Chosen]:
    """The class of the choice that plain values name.

    Raises:
        ConfigError: there is no such choice, it cannot be imported, or it is not what a record was made with.
    """
    if TARGET in values:
        kind = imported(contract, values[TARGET])
        source = digest_of(kind)
        if (then := values.get(SOURCE, source)) != source:
            now = f"has changed since; allowed is {source!r}, what it is now"
            raise ConfigError(f"{contract.group}.{SOURCE}={then!r}: {file_of(kind)} {now}")
        return kind
    if NAME not in values:
        raise ConfigError(f"{contract.group}.{NAME}: a value is missing; allowed are {_listed(contract)}")
    name = values[NAME]
    found = _named_as_its_file(contract, name) or choices(contract).get(name) if isinstance(name, str) else None
    if found is None:
        raise ConfigError(f"{contract.group}.{NAME}={name!r}: allowed are {_listed(contract)}")
    return found


def _named_as_its_file(contract: type[Chosen], name: str) -> type[Chosen] | None:
    """The choice in the file of its own name, which nearly all are in: the others need not be imported."""
    package = contract.__module__.rpartition(".")[0]
    if not name.isidentifier() or importlib.util.find_spec(f"{package}.{name}") is None:
        return None
    return next((kind for kind in _within(contract, f"{package}.{name}") if kind.name == name), None)


def choices(contract: type[Chosen]) -> dict[str, type[Chosen]]:
    """The suite's own choices of a group, by name: those in the files beside its contract."""
    return found_beside(contract)


def found_beside(contract: type[Found]) -> dict[str, type[Found]]:
    """The classes of a contract in the files beside it that say their names, by name, in the order of their places."""
    return cast(dict[str, type[Found]], _found(cast(Hashable, contract)))


@functools.cache
def _found(contract: Any) -> dict[str, Any]:
    package = contract.__module__.rpartition(".")[0]
    files = pkgutil.iter_modules(importlib.import_module(package).__path__)
    found = dict.fromkeys(kind for file in files for kind in _within(contract, f"{package}.{file.name}"))
    return {kind.name: kind for kind in sorted(found, key=lambda kind: (kind.place, kind.name))}


def _within(contract: Any, module: str) -> list[Any]:
    """The classes of a contract that a module has and that say their names."""
    kinds = [kind for _, kind in inspect.getmembers(importlib.import_module(module), inspect.isclass)]
    return [kind for kind in kinds if issubclass(kind, contract) and "name" in vars(kind)]


def imported(contract: type[Chosen], target: object) -> type[Chosen]:
    """A user's own class, by its dotted path.

    Raises:
        ConfigError: it cannot be imported, or is no choice of this group.
    """
    key = f"{contract.group}.{TARGET}={target!r}"
    module, _, name = str(target).rpartition(".")
    if not (module and name.isidentifier()):
        raise ConfigError(f"{key}: must be the dotted path of a class, such as mypackage.mymodule.MyClass")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise ConfigError(f"{key}: {told(error)}") from None
    if not isinstance(kind, type):
        raise ConfigError(f"{key}: {module} has no such class")
    if not (issubclass(kind, contract) and _is_frozen(kind) and isinstance(getattr(kind, "name", None), str)):
        needed = f"a frozen dataclass that fulfils {target_of(contract)} and says its name"
        raise ConfigError(f"{key}: {start_of(kind)}: must be {needed}")
    if kind.name in choices(contract):
        own = ", ".join(choices(contract))
        raise ConfigError(f"{key}: {start_of(kind)}: its name {kind.name!r} is the suite's; allowed is none of {own}")
    return kind


def named(kind: type[Choice]) -> dict[str, Any]:
    """The plain values that name a choice, without its keys."""
    return ({} if is_own(kind) else {TARGET: target_of(kind)}) | {NAME: kind.name}


@contextmanager
def telling(kind: type[Choice]) -> Iterator[None]:
    """Tell of what a user's own class raises in one message, with its file and line; the suite's own raise it.

    Raises:
        ConfigError: the user's class has failed, or says itself what is wrong.
    """
    try:
        yield
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        if is_own(kind):
            raise
        raise ConfigError(f"{kind.group}={kind.name!r}: {told(error, kind)}") from None


def _is_frozen(kind: type) -> bool:
    """Whether a class is a frozen dataclass itself, and not its contract alone."""
    return "__dataclass_fields__" in vars(kind) and vars(kind)["__dataclass_params__"].frozen


def _listed(contract: type[Choice]) -> str:
    return ", ".join(map(repr, choices(contract)))
