"""Measure what methods make of a slow network, on two hosts that this machine plays; needs root.

Two network namespaces stand for the hosts. The methods take their turns in random order, within each round at each
rate, as a machine's speed drifts; only ratios within a round are averaged. Results go to ``results/network.csv``.

Examples::

    python -m bench network --rates 1000,100                 FDG, DDP and 1F1B over a slow network
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.engine.rank import RunFailed
from bench.keys import ConfigError
from bench.plan.interval import Interval, mean, ratio
from bench.record.environment import environment
from bench.study.compare.hosts import run_across
from bench.study.compare.line import ShapedLine, linked
from bench.study.compare.network_runs import METHODS, MODELS, Forecast, Trial, contenders, forecast, trial_of
from bench.study.launcher.check import check_rounds
from bench.study.report.align import NOTHING, align
from bench.study.sweep.compose import compose
from bench.study.sweep.library import RUN, Primary
from bench.study.verbs import add_rounds
from bench.system.call import temporary, warm_up
from bench.task.judgement import Judgement

FORECAST = "forecast"
"""The forecast's name among the methods: it takes its turn as they do, for each model."""
FILE = Path("results/network.csv")


def options(parser: argparse.ArgumentParser) -> None:
    add_rounds(parser)
    parser.add_argument("--rates", metavar="LIST", default="1000,100", help="of the network, Mbit/s (1000,100)")


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write it to ``results/network.csv``; return the exit code.

    Raises:
        ConfigError: an argument is wrong, or this machine has not what it takes.
        Interrupted: the user wants the end; nothing is left of the hosts.
    """
    rates = parse_rates(arguments.rates)
    check_rounds(arguments.rounds)
    primary = RUN.beside(arguments.config_dir)
    points = {model: contenders(model, arguments.overrides, primary) for model in MODELS}
    counted = _counted(points, primary)
    trials: list[Trial] = []
    forecasts: list[Forecast] = []
    try:
        with linked() as link, tempfile.TemporaryDirectory(dir=temporary()) as place:
            warm_up()
            machine = {**environment(False), "tcp": link.congestion_control()}
            for number in range(arguments.rounds):
                for one in _round(link, Path(place), rates, points, primary, random.Random(number)):
                    speed = f"{one.units_per_second:.1f} {counted.short}/s"
                    said = f"{one.model} {one.megabits:g} Mbit/s {one.method}: {speed}"
                    if isinstance(one, Trial):
                        trials.append(one)
                    else:
                        forecasts.append(one)
                        said += " predicted"
                    print(f"round {number + 1}/{arguments.rounds} {said}", file=sys.stderr)
    except RunFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report(trials, forecasts, machine, counted)
    return 0


def _counted(points: Mapping[str, Mapping[str, list[str]]], primary: Primary) -> Judgement:
    """What all of the runs count."""
    words = next(words for methods in points.values() for words in methods.values())
    return Judgement.of(compose(words, primary).data.task)


def parse_rates(text: str) -> list[float]:
    """Read rates from a text, in megabits a second.

    Raises:
        ConfigError: they are not positive numbers.
    """
    try:
        rates = [float(word) for word in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(0 < rate < float("inf") for rate in rates):
        raise ConfigError(f"--rates={text!r}: must be Mbit/s above 0 with commas between, e.g. 1000,100")
    return rates


def _round(
    link: ShapedLine,
    place: Path,
    rates: Sequence[float],
    points: Mapping[str, Mapping[str, list[str]]],
    primary: Primary,
    order: random.Random,
) -> Iterator[Trial | Forecast]:
    """Run and forecast every method once with each model at each rate."""
    for megabits in rates:
        link.shape(megabits)
        measured = link.measured(megabits)
        turns = [(model, method) for model, methods in points.items() for method in (*methods, FORECAST)]
        for model, method in order.sample(turns, len(turns)):
            if method == FORECAST:
                configs = {name: compose(words, primary) for name, words in points[model].items()}
                yield from forecast(model, megabits, configs)
                continue
            overrides = points[model][method]
            crossing = run_across(link, overrides, place, primary)
            yield trial_of((model, megabits, measured, method), compose(overrides, primary), crossing)


# --------------------------------------------------------------------------------------------------------- what is told
def report(
    trials: Sequence[Trial], forecasts: Sequence[Forecast], machine: Mapping[str, Any], counted: Judgement
) -> None:
    """Print and write what was measured: a row a model, rate and method."""
    import pandas

    groups: dict[tuple[str, float], dict[str, list[Trial]]] = {}
    for trial in trials:
        groups.setdefault((trial.model, trial.megabits), {}).setdefault(trial.method, []).append(trial)
    expected: dict[tuple[str, float], dict[str, list[float]]] = {}
    for one in forecasts:
        expected.setdefault((one.model, one.megabits), {}).setdefault(one.method, []).append(one.units_per_second)
    order = sorted(groups, key=lambda key: (key[0], -key[1]))
    rows = [row for key in order for row in _rows(groups[key], expected[key])]
    table = pandas.DataFrame(rows).assign(**{name: machine[name] for name in ("cpu", "cores", "torch", "tcp")})
    FILE.parent.mkdir(exist_ok=True)
    columns = {name: name.replace("units", counted.units).replace("sample", counted.unit) for name in table}
    table.round(4).rename(columns=columns).to_csv(FILE, index=False)
    shown = [_cells(row, counted) for row in rows]
    print("\n".join(align([list(shown[0]), *(list(cells.values()) for cells in shown)])))
    print(
        f"\nbytes/{counted.unit}: both ways together; on the line: measured, with the headers of TCP, IP and Ethernet"
    )
    where = f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}, TCP with {machine['tcp']}"
    print(f"{where}: {FILE}")


def _rows(methods: Mapping[str, Sequence[Trial]], expected: Mapping[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Yield the table's rows of one model at one rate, a row a method; trials and expectations are ordered by round."""
    speeds = {method: [trial.units_per_second for trial in trials] for method, trials in methods.items()}
    for method in METHODS:
        trials = methods[method]
        row = {"model": trials[0].model, "megabits": trials[0].megabits}
        row |= {"measured_megabits": _mean(trials, "measured_megabits"), "method": method, "n": len(trials)}
        row |= _columns("units_per_second", mean(speeds[method]))
        row |= _columns("fdg_over_it", ratio(speeds["FDG"], speeds[method]) if method != "FDG" else None)
        row |= {"predicted_units_per_second": mean(expected[method]).mean}
        row |= _columns("predicted_over_measured", ratio(expected[method], speeds[method]))
        for name in ("bytes_per_sample", "line_bytes_per_sample", "efficiency", "locking"):
            row[name] = _mean(trials, name)
        yield row


def _mean(trials: Sequence[Trial], name: str) -> float:
    return mean([getattr(trial, name) for trial in trials]).mean


def _columns(name: str, interval: Interval | None) -> dict[str, float | None]:
    ends = (None, None, None) if interval is None else interval[:3]
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _cells(row: Mapping[str, Any], counted: Judgement) -> dict[str, str]:
    """The cells of a row of the printed table."""
    return {
        "model": row["model"],
        "Mbit/s": f"{row['megabits']:g}",
        "measured": f"{row['measured_megabits']:.1f}",
        "method": row["method"],
        f"{counted.short}/s": f"{row['units_per_second']:.1f}",
        "95%": _ends(row, "units_per_second", ".1f"),
        "FDG over it": NOTHING if row["fdg_over_it"] is None else f"{row['fdg_over_it']:.3f}",
        "of 95%": _ends(row, "fdg_over_it", ".3f"),
        "predicted": f"{row['predicted_units_per_second']:.1f}",
        "over measured": f"{row['predicted_over_measured']:.3f}",
        f"bytes/{counted.unit}": f"{row['bytes_per_sample']:.0f}",
        "on the line": f"{row['line_bytes_per_sample']:.0f}",
        "locking": f"{row['locking']:.2f}",
    }


def _ends(row: Mapping[str, Any], name: str, form: str) -> str:
    """The ends of an interval as text; one round has none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return NOTHING if low is None or math.isnan(low) else f"{low:{form}} .. {high:{form}}"
