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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.engine.rank import RunFailed
from bench.keys import ConfigError
from bench.plan.forecast.traffic import allreduce_bytes, boundary_bytes
from bench.plan.interval import Interval, mean, ratio
from bench.record.environment import environment
from bench.rule.method.ddp import DistributedData
from bench.rule.method.one_f_one_b import OneForwardOneBackward
from bench.study.compare.hosts import Crossing, run_across
from bench.study.compare.line import PAYLOAD, ShapedLine, linked
from bench.study.launcher.check import check_rounds
from bench.study.predict.links import across
from bench.study.predict.workload import Workload, way_of
from bench.study.report.align import NOTHING, align
from bench.study.sweep.compose import compose
from bench.study.sweep.library import RUN, Primary
from bench.study.verbs import add_rounds
from bench.system.call import Call, temporary, warm_up
from bench.task.model.mlp import MLP
from bench.task.model.resnet import ResNet

UPDATES = 40
"""Updates of each run. To fill and drain two stages takes as many more ticks as the staleness: 5% of an FDG run."""
WORKLOAD = ("data=synthetic", "data.test_size=64", "epochs=1", f"max_steps={UPDATES}", "tracking=none")
MODELS = {
    MLP.name: ("model=mlp", "model.hidden=1024"),
    ResNet.name: ("model=resnet",),
}
"""Overrides of a network heavy in parameters (24 MiB, with 4 KiB an image at its cut), and of one heavy in activations
(1 MiB, with 48 KiB)."""
CUTS = {MLP.name: "partition=[2]", ResNet.name: "partition=[8]"}
"""Overrides that cut each network into halves of equal time, measured once: cuts that moved would move the bytes."""
METHODS = {
    "FDG": ("stages=2", "replicas=1", "staleness=2"),
    "staleness 4": ("stages=2", "replicas=1", "staleness=4"),
    DistributedData.name: (f"method={DistributedData.name}", "stages=1", "replicas=2"),
    OneForwardOneBackward.name: (f"method={OneForwardOneBackward.name}", "stages=2", "replicas=1"),
}
FORECAST = "forecast"
"""The forecast's name among the methods: it takes its turn as they do, for each model."""
FILE = Path("results/network.csv")


@dataclass(frozen=True)
class Trial:
    """One run of one method."""

    model: str
    megabits: float
    """Megabits a second that were asked of the line."""
    measured_megabits: float
    """Megabits a second that TCP made of the line before the run."""
    method: str
    images_per_second: float
    bytes_per_image: float
    """Bytes an image that have to cross the line, both ways together."""
    line_bytes_per_image: float
    """Bytes an image that crossed the line, headers included."""
    efficiency: float
    locking: float


@dataclass(frozen=True)
class Forecast:
    """What a run should measure, by a walk of the clock with what its parts cost in the same round."""

    model: str
    megabits: float
    method: str
    images_per_second: float


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
    trials: list[Trial] = []
    forecasts: list[Forecast] = []
    try:
        with linked() as link, tempfile.TemporaryDirectory(dir=temporary()) as place:
            warm_up()
            machine = {**environment(False), "tcp": link.congestion_control()}
            for number in range(arguments.rounds):
                for one in _round(link, Path(place), rates, points, primary, random.Random(number)):
                    said = f"{one.model} {one.megabits:g} Mbit/s {one.method}: {one.images_per_second:.1f} img/s"
                    if isinstance(one, Trial):
                        trials.append(one)
                    else:
                        forecasts.append(one)
                        said += " predicted"
                    print(f"round {number + 1}/{arguments.rounds} {said}", file=sys.stderr)
    except RunFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report(trials, forecasts, machine)
    return 0


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


def contenders(model: str, overrides: Sequence[str], primary: Primary = RUN) -> dict[str, list[str]]:
    """Compose each method's overrides: the same global batch an update, and as many images as the updates take.

    Raises:
        ConfigError: an override is wrong.
    """
    images = compose(overrides, primary).batch_size
    if images % 2:
        raise ConfigError(f"batch_size={images}: must be even, as two replicas share it")
    shared = [*WORKLOAD, *overrides, *MODELS[model], f"data.train_size={UPDATES * images}"]
    points = {}
    for name, own in METHODS.items():
        alone = "stages=1" in own
        split = [f"batch_size={images // 2}"] if alone else [f"batch_size={images}", CUTS[model]]
        points[name] = [*shared, *own, *split]
        compose(points[name], primary)
    return points


def crossing_bytes(config: RunConfig, partition: Sequence[Mapping[str, Any]]) -> int:
    """Bytes that an update of two agents has to bring from one to the other, both ways together; takes torch.

    Args:
        partition: the stages, as the record has them.
    """
    from bench.task.build import build

    if config.stages > 1:
        return boundary_bytes(partition[0]["message_bytes"], config.microbatches)
    dataset = config.data.load(config.data.prepare())
    parameters = build(config.model, dataset.image_shape, dataset.classes).parameters()
    size = 8 if config.precision == "float64" else 4
    return allreduce_bytes(size * sum(parameter.numel() for parameter in parameters), config.replicas)


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
            yield _trial((model, megabits, measured, method), compose(overrides, primary), crossing)


def forecast(model: str, megabits: float, configs: Mapping[str, RunConfig]) -> Iterator[Forecast]:
    """Forecast the speed of each method over a line of so many megabits a second, between agents on this machine."""
    common = Workload(configs["FDG"], None, across(megabits * 1e6 / 8 * PAYLOAD))
    for method, config in configs.items():
        # With its own grid and cut, and what was measured for the others.
        times = replace(common, config=config).predict(way_of(config))
        yield Forecast(model, megabits, method, times.images_per_second(config.batch_size * config.replicas))


def _trial(what: tuple[str, float, float, str], config: RunConfig, crossing: Crossing) -> Trial:
    metrics, images = crossing.record["metrics"], config.batch_size * config.replicas
    return Trial(
        *what,
        images_per_second=metrics["throughput/images_per_second"],
        bytes_per_image=Call(crossing_bytes, config, crossing.record["partition"]).result() / images,
        line_bytes_per_image=crossing.line_bytes / (crossing.record["epochs"][-1]["step"] * images),
        efficiency=metrics["throughput/efficiency"],
        locking=metrics["locking/total_fraction"],
    )


# --------------------------------------------------------------------------------------------------------- what is told
def report(trials: Sequence[Trial], forecasts: Sequence[Forecast], machine: Mapping[str, Any]) -> None:
    """Print and write what was measured: a row a model, rate and method."""
    import pandas

    groups: dict[tuple[str, float], dict[str, list[Trial]]] = {}
    for trial in trials:
        groups.setdefault((trial.model, trial.megabits), {}).setdefault(trial.method, []).append(trial)
    expected: dict[tuple[str, float], dict[str, list[float]]] = {}
    for one in forecasts:
        expected.setdefault((one.model, one.megabits), {}).setdefault(one.method, []).append(one.images_per_second)
    order = sorted(groups, key=lambda key: (key[0], -key[1]))
    rows = [row for key in order for row in _rows(groups[key], expected[key])]
    table = pandas.DataFrame(rows).assign(**{name: machine[name] for name in ("cpu", "cores", "torch", "tcp")})
    FILE.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(FILE, index=False)
    print("\n".join(align([list(_cells(rows[0])), *(list(_cells(row).values()) for row in rows)])))
    print("\nbytes per image: both ways together; on the line: measured, with the headers of TCP, IP and Ethernet")
    where = f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}, TCP with {machine['tcp']}"
    print(f"{where}: {FILE}")


def _rows(methods: Mapping[str, Sequence[Trial]], expected: Mapping[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Yield the table's rows of one model at one rate, a row a method; trials and expectations are ordered by round."""
    speeds = {method: [trial.images_per_second for trial in trials] for method, trials in methods.items()}
    for method in METHODS:
        trials = methods[method]
        row = {"model": trials[0].model, "megabits": trials[0].megabits}
        row |= {"measured_megabits": _mean(trials, "measured_megabits"), "method": method, "n": len(trials)}
        row |= _columns("images_per_second", mean(speeds[method]))
        row |= _columns("fdg_over_it", ratio(speeds["FDG"], speeds[method]) if method != "FDG" else None)
        row |= {"predicted_images_per_second": mean(expected[method]).mean}
        row |= _columns("predicted_over_measured", ratio(expected[method], speeds[method]))
        for name in ("bytes_per_image", "line_bytes_per_image", "efficiency", "locking"):
            row[name] = _mean(trials, name)
        yield row


def _mean(trials: Sequence[Trial], name: str) -> float:
    return mean([getattr(trial, name) for trial in trials]).mean


def _columns(name: str, interval: Interval | None) -> dict[str, float | None]:
    ends = (None, None, None) if interval is None else interval[:3]
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a row of the printed table."""
    return {
        "model": row["model"],
        "Mbit/s": f"{row['megabits']:g}",
        "measured": f"{row['measured_megabits']:.1f}",
        "method": row["method"],
        "img/s": f"{row['images_per_second']:.1f}",
        "95%": _ends(row, "images_per_second", ".1f"),
        "FDG over it": NOTHING if row["fdg_over_it"] is None else f"{row['fdg_over_it']:.3f}",
        "of 95%": _ends(row, "fdg_over_it", ".3f"),
        "predicted": f"{row['predicted_images_per_second']:.1f}",
        "over measured": f"{row['predicted_over_measured']:.3f}",
        "bytes/image": f"{row['bytes_per_image']:.0f}",
        "on the line": f"{row['line_bytes_per_image']:.0f}",
        "locking": f"{row['locking']:.2f}",
    }


def _ends(row: Mapping[str, Any], name: str, form: str) -> str:
    """The ends of an interval as text; one round has none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return NOTHING if low is None or math.isnan(low) else f"{low:{form}} .. {high:{form}}"
