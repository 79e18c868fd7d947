"""The command line: finds the verb, teaches it, and has it do what is asked; nothing else."""

from __future__ import annotations

import argparse
import ast
import difflib
import errno
import functools
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from textwrap import wrap
from typing import Any, NoReturn

from bench.choice import Choice, choices
from bench.config import RunConfig
from bench.keys import ConfigError
from bench.study import verbs
from bench.study.launcher.packages import importable
from bench.study.sweep.settings import Settings, contracts
from bench.system import signals
from bench.system.wording import masked

EXIT_FAILED, EXIT_WRONG = 1, 2
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Errors of a disk, which may strike whatever is written."""
COMMAND = "python -m bench"
DEFAULT = "run"
"""The verb that is meant where none is typed."""
MORE = f"{COMMAND} --help shows all verbs, keys and choices, and what the exit codes say"
TITLE = "What do delayed gradients buy in throughput, and what do they cost in quality?"
HELP = """\
verbs (run, where none is typed; python -m bench VERB --help teaches one):
{verbs}

examples:
{examples}

overrides (Hydra's grammar; conf/config.yaml explains each key):
{keys}

tracking.uri and tracking.experiment, where not given, are those of MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME
exit codes: 0 there is a result, 1 a run failed, 2 the configuration is wrong, 130 interrupted,
  143 ended by SIGTERM, behind a checkpoint: the same command goes on from there

choices (python -m bench --cfg job model=vgg prints the keys of one):
{choices}
"""


class Parser(argparse.ArgumentParser):
    """A parser of what a verb takes; its help is what the verb's own file says."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help shows what is allowed")


class Overview(Parser):
    """A parser of what the default verb takes; its help shows all there is."""

    def format_help(self) -> str:
        return f"{super().format_help()}\n{overview()}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words.pop(0) if words and words[0] in verb_names() else None
    try:
        arguments = parser_of(verb).parse_intermixed_args(words)
        module = module_of(verb or DEFAULT)
        _check(arguments, module, verb or DEFAULT)
        with signals.terminable(), importable(arguments.config_dir):
            return int(module.main(arguments))
    except ConfigError as error:
        _say(printable(masked(str(error))))
        return EXIT_WRONG
    except BrokenPipeError:
        # Whoever read the output has gone (``| head``); what Python would flush at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _say(str(error))
        return EXIT_FAILED
    except signals.Stopped as stopped:
        _say(str(stopped))
        return signals.EXIT_STOPPED
    except KeyboardInterrupt:
        _say("interrupted")
        return signals.EXIT_INTERRUPTED


def program() -> int:
    """Run :func:`main` as a whole process: whatever is sent to it, it has ended a few seconds later."""
    with signals.to_the_end():
        return main()


def _say(words: str) -> None:
    # A terminal that was closed takes nothing any more.
    with suppress(OSError):
        print(f"bench: {words}", file=sys.stderr, flush=True)


def printable(message: str) -> str:
    """Write the message as one line, whatever characters the user has typed."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)


# --------------------------------------------------------------------------------------------------------------- verbs
def verb_names() -> list[str]:
    """What the verbs are called: their files' names, the default one first."""
    names = {found.name for found in pkgutil.iter_modules(verbs.__path__)}
    return [DEFAULT, *sorted(names - {DEFAULT})]


def module_of(verb: str) -> Any:
    """The module of a verb, which says all of it."""
    return importlib.import_module(f"{verbs.__name__}.{verb}")


def parser_of(verb: str | None) -> Parser:
    """Make the parser of what a verb takes; its help teaches the verb, and that of no verb shows all there is."""
    module = module_of(verb or DEFAULT)
    parser = (Parser if verb else Overview)(
        prog=" ".join(filter(None, [COMMAND, verb])),
        usage=None if verb else f"{COMMAND} [VERB] [-m] [key=value ...]",
        description=taught(verb) if verb else TITLE,
        epilog=MORE if verb else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep = "sweep: key=1,2,3 takes every combination" if is_swept(module) else argparse.SUPPRESS
    parser.add_argument("-m", "--multirun", action="store_true", help=sweep)
    parser.add_argument(
        "--config-dir", metavar="DIR", help="your choices, experiments and presets, beside the suite's (conf)"
    )
    if hasattr(module, "options"):
        module.options(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="what differs from the files in conf")
    return parser


def is_swept(module: Any) -> bool:
    """Whether a verb takes several points at once."""
    return getattr(module, "MULTIRUN", False)


def _check(arguments: argparse.Namespace, module: Any, verb: str) -> None:
    """Refuse several points where a verb takes one, and a word that will have been meant as a verb.

    Raises:
        ConfigError: there is such.
    """
    if arguments.multirun and not is_swept(module):
        raise ConfigError(f"--multirun: {verb} takes one configuration; allowed is {COMMAND} {verb} [key=value ...]")
    for word in arguments.overrides:
        if word in verb_names():
            raise ConfigError(f"{word}: a verb comes first; allowed is {COMMAND} {word} [key=value ...]")
        if word.isidentifier() and (close := difflib.get_close_matches(word, verb_names(), 1)):
            allowed = ", ".join(verb_names())
            raise ConfigError(f"{word}: there is no such verb; did you mean {close[0]}? allowed are {allowed}")


# ---------------------------------------------------------------------------------------------------------------- help
@functools.cache
def taught(verb: str) -> str:
    """What the docstring of a verb's file says; nothing is imported to read it."""
    tree = ast.parse(Path(verbs.__path__[0], f"{verb}.py").read_bytes())
    return _unmarked(ast.get_docstring(tree) or "")


def examples(verb: str) -> list[str]:
    """The examples of a verb, a line each: a command and what it does."""
    return [line.strip() for line in taught(verb).partition("Examples:\n\n")[2].splitlines()]


def overview() -> str:
    """All there is, in words of its own: the verbs, their examples, the keys, and a line for every choice."""
    names, groups = verb_names(), [contract.group for contract in contracts()]
    keys = [field.name for kind in (RunConfig, Settings) for field in fields(kind) if field.name not in groups]
    kinds = [kind for contract in contracts() for kind in choices(contract).values()]
    return HELP.format(
        verbs=_lines(f"{name:<10} {taught(name).splitlines()[0]}" for name in names),
        examples=_lines(line for name in names for line in examples(name)),
        keys=_lines(wrap(" ".join(keys), 110)),
        choices=_lines(f"{f'{kind.group}={kind.name}':<29} {_summary(kind)}" for kind in kinds),
    )


def _summary(kind: type[Choice]) -> str:
    return " ".join(_unmarked(kind.__doc__ or "").partition("\n\n")[0].split())


def _lines(words: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in words)


def _unmarked(docstring: str) -> str:
    """A docstring as a terminal shows it."""
    return docstring.replace("::\n", ":\n").replace("``", "")


if __name__ == "__main__":
    sys.exit(program())
