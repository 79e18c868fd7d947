"""Measure the engine's speed and its peers', as interleaved ratios with intervals.

The speed of a machine drifts by up to a factor of two within minutes, so that two speeds taken one after the other say
little. Here every round measures each contender once, in random order, and only ratios within a round are averaged.
Every contender makes updates of as many samples, with as many threads an agent; but four replicas, which show what four
working sets on these cores cost, cut or not, have a batch each. After each round the results so far go to
``results/benchmark.csv``, or to another network's or precision's own file.

Examples::

    python -m bench benchmark --rounds 3                     the default network, three times
    python -m bench benchmark model=vgg data.train_size=5120   of another network, into a file of its own
    python -m bench benchmark model=gpt data=markov data.length=1260000     of a language model
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.plan.interval import Interval, ratio
from bench.record.environment import environment
from bench.study.compare.checkpoint_cost import CHECKPOINTED, checkpointed, measure_checkpoints, turn
from bench.study.compare.contenders import (
    CONTENDERS,
    PIPELINES,
    PLAIN,
    PREDICTED,
    Measurement,
    Prediction,
    measure_contender,
    predict_contenders,
    whole_command,
    workload,
)
from bench.study.launcher.check import check_rounds
from bench.study.launcher.devices import oversubscribed
from bench.study.predict.surroundings import EVERY_MINUTES
from bench.study.predict.workload import MICROBATCHES
from bench.study.sweep.compose import compose
from bench.study.sweep.library import RUN
from bench.study.verbs import add_rounds
from bench.system.call import temporary, warm_up
from bench.task.judgement import Judgement
from bench.task.model.gpt import GPT
from bench.task.model.resnet import ResNet

RATIOS = (
    ("FDG", "one core"),
    ("FDG", "locked"),
    ("FDG", "DDP"),
    ("FDG", "both stages alone"),
    ("FDG again", "FDG"),
    ("one core", "minimal loop"),
    ("minimal loop, compiled", "minimal loop"),
    ("one core", "one core, contiguous"),
    ("two oracles", "oracle"),
)
"""Pairs of contenders whose speeds are compared, beside FDG and the fastest of the pipelines."""
BEST = {how: f"the fastest {how}pipeline" for how in ("", PLAIN)}
"""Names of the fastest pipelines: with this engine's messages, and with torch's own."""
FOLLOWING_LIMIT = 0.005
"""The largest share of the training time that this process may take to follow the run meanwhile."""
OF_RESNET = {
    "one core / minimal loop": 0.98,
    "FDG, K=4 / one core: processor time": 1.1,
    "FDG: efficiency": 0.97,
    "FDG: locking fraction": 0.03,
    "FDG: following the run / training time": FOLLOWING_LIMIT,
    "two oracles / oracle": 1.9,
    **{f"{name}: checkpoints / training time": 0.02 for name in CHECKPOINTED},
}
"""What is asked of a ResNet in either precision: processor time, locking, following and checkpoints are to be at most
this, all else at least."""
ASKED = {
    (ResNet.name, "float32"): OF_RESNET
    | {"FDG / one core": 1.95, "FDG / locked": 1.9, "FDG / DDP": 1.0}
    | {f"FDG / {best}": 1.35 for best in BEST.values()},
    (ResNet.name, "bfloat16"): OF_RESNET
    | {"FDG / one core": 1.9, "FDG / locked": 1.85, "FDG / DDP": 1.0}
    | {f"FDG / {best}": 1.3 for best in BEST.values()},
    (GPT.name, "float32"): {"FDG / one core": 1.85, "FDG: efficiency": 0.97}
    | {f"FDG / {best}": 1.3 for best in BEST.values()},
}
"""What is asked of a network in a precision."""
PREDICTION_ASKED = 0.9, 1.1
"""The least and the most that predicted over measured speed may be, whatever is trained."""
PREDICTION = "prediction"
"""The prediction's name among the contenders: it takes its turn in every round as they do."""


def options(parser: argparse.ArgumentParser) -> None:
    add_rounds(parser)


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the ratios, write them to ``results/benchmark.csv``, or that of another model or precision.

    Raises:
        ConfigError: an argument is wrong.
    """
    check_rounds(arguments.rounds)
    shared = workload(arguments.overrides)
    contenders = {name: [*shared, *overrides, *arguments.overrides] for name, overrides in CONTENDERS.items()}
    primary = RUN.beside(arguments.config_dir)
    saved = checkpointed(arguments.overrides)
    configs = {name: compose(overrides, primary) for name, overrides in (contenders | saved).items()}
    warm_up()
    machine = environment(oversubscribed(configs["FDG"]))
    measurements: list[Measurement] = []
    predictions: list[Prediction] = []
    order, short = random.Random(0), configs["FDG"].data.task.short
    turns = [*configs, PREDICTION]
    with tempfile.TemporaryDirectory(dir=temporary()) as place:
        # Creates MLflow's database, as a user's first run does once.
        whole_command([*primary.words, *contenders["whole command"]], Path(place))
        for number in range(arguments.rounds):
            for name in order.sample(turns, len(turns)):
                if name == PREDICTION:
                    found = predict_contenders(number, configs)
                    predictions += found
                    said = [f"{one.contender}: {one.units_per_second:.1f} {short}/s predicted" for one in found]
                elif name in saved:
                    measurements.append(measure_checkpoints(number, name, configs[name], Path(place)))
                    said = [f"{name}: {measurements[-1].checkpoint_seconds:.3f} s"]
                else:
                    words = [*primary.words, *contenders[name]]
                    measurement = measure_contender(number, name, configs[name], words, Path(place))
                    measurements.append(measurement)
                    said = [f"{name}: {measurement.units_per_second:.1f} {short}/s"]
                for line in said:
                    print(f"round {number + 1}/{arguments.rounds} {line}", file=sys.stderr)
            # A round takes up to twenty minutes: what is known by now is kept, whatever becomes of the next one.
            known = report(measurements, predictions, configs["FDG"], machine)
    check_following(known)
    return 0


def report(
    measurements: Sequence[Measurement],
    predictions: Sequence[Prediction],
    config: RunConfig,
    machine: dict[str, Any],
) -> dict[str, float]:
    """Print and write what was measured for the network that ``config`` trains; return each figure's mean."""
    import pandas

    kinds = [config.model.name] * (config.model.name != ResNet.name) + [config.precision] * (
        config.precision != "float32"
    )
    path = Path("results", "-".join(["benchmark", *kinds]) + ".csv")
    rows = []
    for figure, asked, interval in _figures(measurements, Judgement.of(config.data.task)):
        rows.append({"figure": figure, **interval._asdict(), "asked": asked_of(config, asked)})
    for figure, interval in _predicted(measurements, predictions):
        least, most = PREDICTION_ASKED
        rows.append({"figure": figure, **interval._asdict(), "asked": least, "at_most": most})
    table = pandas.DataFrame(rows).assign(cpu=machine["cpu"], cores=machine["cores"], torch=machine["torch"])
    path.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(path, index=False)
    print(table.drop(columns=["cpu", "cores", "torch"]).round(3).to_string(index=False))
    print(f"\n{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}: {path}")
    return {row["figure"]: row["mean"] for row in rows}


def check_following(known: Mapping[str, float]) -> None:
    """Fail a benchmark in which this process took more of the cores than following a run is to take."""
    following = known["FDG: following the run / training time"]
    assert following <= FOLLOWING_LIMIT, f"to follow a run took {following:.2%} of its training time"


def asked_of(config: RunConfig, figure: str) -> float | None:
    """What a figure should be; nothing is asked of other networks, nor of other precisions."""
    return ASKED.get((config.model.name, config.precision), {}).get(figure)


def _series(taken: Sequence[Measurement | Prediction], name: str, field: str) -> list[float]:
    """One contender's values of a field, round by round."""
    return [getattr(one, field) for one in sorted(taken, key=lambda one: one.round) if one.contender == name]


def _figures(measurements: Sequence[Measurement], counted: Judgement) -> Iterator[tuple[str, str, Interval]]:
    """Yield each measured figure: its name, the name under which it is asked for, and its interval."""

    def series(name: str, field: str = "units_per_second") -> list[float]:
        return _series(measurements, name, field)

    ones = [1.0] * len(series("FDG"))
    for numerator, denominator in RATIOS:
        figure = f"{numerator} / {denominator}"
        yield figure, figure, ratio(series(numerator), series(denominator))
    for how, known_as in BEST.items():
        pipelines = [f"{how}{method}, {count} microbatches" for method in PIPELINES for count in MICROBATCHES]
        best = max(pipelines, key=lambda name: ratio(series(name), ones).mean)
        yield f"FDG / {best}", f"FDG / {known_as}", ratio(series("FDG"), series(best))
    alone = [
        (f"{name} / one core: processor time", series(name, "processor"), series("one core", "processor"))
        for name in ("FDG, K=4", "four replicas")
    ]
    for name in ("FDG", "locked"):
        alone.append((f"{name}: efficiency", series(name, "efficiency"), ones))
        alone.append((f"{name}: locking fraction", series(name, "locking"), ones))
    alone.append(("FDG: following the run / training time", series("FDG", "following"), ones))
    alone += [(f"{name}: {counted.units}/s", series(name), ones) for name in CONTENDERS]
    for name in ("FDG", "whole command"):
        alone.append((f"{name}: seconds beyond training", series(name, "overhead_seconds"), ones))
    for name in CHECKPOINTED:
        seconds = series(turn(name), "checkpoint_seconds")
        alone.append((f"{name}: seconds of a checkpoint", seconds, ones))
        alone.append((f"{name}: checkpoints / training time", seconds, [60 * EVERY_MINUTES] * len(ones)))
    for figure, values, others in alone:
        yield figure, figure, ratio(values, others)


def _predicted(
    measurements: Sequence[Measurement], predictions: Sequence[Prediction]
) -> Iterator[tuple[str, Interval]]:
    """Yield how good the predictions are: that of each round over the measurement of the same one."""

    def compared(name: str, field: str) -> Interval:
        return ratio(_series(predictions, name, field), _series(measurements, name, field))

    for name in PREDICTED:
        yield f"{name}: predicted / measured", compared(name, "units_per_second")
    yield "FDG: predicted / measured efficiency", compared("FDG", "efficiency")
