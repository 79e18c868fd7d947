"""Predict how fast a run will be, or how long a sweep or a study, before there are the machines for it.

The passes of its stages are measured here, and a walk of the pipeline's clock says the rest, beside other ways to use
as many agents. Of one configuration, its picture shows other stages and replicas.

With ``-m``, ``--study`` or a cluster's nodes it says how long all runs take there, side by side where they fit, with
launches, checkpoints and failures.

Examples::

    python -m bench predict stages=8 replicas=16             how fast that would be, without the machines for it
    python -m bench predict stages=2 --bandwidth 0.1 --latency 100   over a network of 0.1 Gbit/s and 100 us
    python -m bench predict -m +experiment=grid --nodes 4 --cores 8   how long a sweep takes there
    python -m bench predict --study trials=40 --nodes 2 --cores 8     how long a study takes at most
    python -m bench predict -m seed=1,2 epochs=9000 --failures 500 --checkpoint 3   a node fails every 500 hours
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from bench.choice import choices
from bench.config import RunConfig
from bench.keys import ConfigError
from bench.plan.forecast.costs import StageCost, Times
from bench.plan.forecast.prediction import predict
from bench.plan.sections import LOCKS, SECTIONS
from bench.record.folder import RunFolder
from bench.record.metrics import SPEED, speed_in
from bench.record.runs_dir import known_record
from bench.rule.method.contract import Method
from bench.rule.method.ddp import DistributedData
from bench.rule.method.decoupled import Decoupled
from bench.study.launcher.check import check, make_folder
from bench.study.predict.campaign import campaign
from bench.study.predict.links import neighbour_links, network_link
from bench.study.predict.speedups import draw, speedups
from bench.study.predict.surroundings import add_surroundings, describes_surroundings, surroundings
from bench.study.predict.workload import MICROBATCHES, Way, Workload, way_of
from bench.study.report.align import align
from bench.study.report.figure import drawn
from bench.study.sweep.compose import points, single
from bench.study.sweep.library import RUN
from bench.study.tune.study import TUNE, study_of

MULTIRUN = True
PICTURE = "prediction.png"
FIGURES = ("units/s", "efficiency", *(f"{lock} lock" for lock in LOCKS))


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bandwidth", type=float, metavar="GBIT", help="Gbit/s of an agent's link (this machine's)")
    parser.add_argument("--latency", type=float, metavar="US", help="microseconds of a message (this machine's)")
    parser.add_argument("--jitter", type=float, help="relative deviation of a stage's time (this machine's)")
    parser.add_argument("--results", default="results", metavar="FOLDER", help="where the picture goes (results)")
    parser.add_argument("--study", action="store_true", help="predict all trials and repeats of python -m bench tune")
    add_surroundings(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the prediction of one configuration beside other ways to use as many agents, and draw K and S; or say how
    long a sweep or a study takes.

    Raises:
        ConfigError: an option or the configuration is wrong, or asks for what is not predicted.
    """
    if arguments.multirun or arguments.study or describes_surroundings(arguments):
        return _whole(arguments)
    links, jitter = network_link(arguments.bandwidth, arguments.latency), _jitter(arguments.jitter)
    point = single(arguments.overrides, RUN.beside(arguments.config_dir))
    config = point.config
    _predictable(config)
    prepared = check(config)
    _warn_of_load()
    folder = make_folder("--results", arguments.results)
    workload = Workload(config, prepared, links or neighbour_links(), jitter)
    print(_facts(workload), end="\n\n")
    print("\n".join(align(_rows(workload))), end="\n\n")
    print(_beside_the_record(workload, point.settings.folder(config)), end="\n\n")
    found = speedups(workload)
    if drawn(folder / PICTURE, lambda: draw(found, folder / PICTURE, way_of(config))):
        print(f"{folder / PICTURE}: speed-up over stages and replicas")
    return 0


def _whole(arguments: argparse.Namespace) -> int:
    """Say how long the sweep or the study takes that the command line asks for."""
    around = surroundings(arguments)
    primary = (TUNE if arguments.study else RUN).beside(arguments.config_dir)
    asked = points(arguments.overrides, arguments.multirun, primary)
    if arguments.study:
        studies = [study_of(point, primary) for point in asked]
        # The repeats begin when the last trial has ended.
        trials = [study.run for study in studies for _ in range(study.trials)]
        phases = [trials, [study.run for study in studies for _ in range(study.tuning.repeats)]]
    else:
        settings = asked[0].settings
        phases = [[point.config for point in asked if settings.force or settings.known(point.config) is None]]
    _warn_of_load()
    print("\n".join(campaign(phases, around)))
    return 0


def _jitter(value: float | None) -> float | None:
    if value is not None and not 0 <= value < math.inf:
        raise ConfigError(f"--jitter={value}: must be a finite number, 0.1 for a tenth of a stage's time, at least 0")
    return value


def _predictable(config: RunConfig) -> None:
    if config.engine != "distributed":
        raise ConfigError(f"engine={config.engine!r}: predicted is distributed, agents with a core or GPU each")
    if config.averaging.mixes(config.replicas):
        raise ConfigError(f"averaging={config.averaging.name!r}: predicted is allreduce")


def _warn_of_load() -> None:
    busy, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if busy > cores / 2:
        print(f"bench: {busy:.1f} of {cores} cores are busy: what is measured now will be too slow", file=sys.stderr)


# --------------------------------------------------------------------------------------------------------------- tables
def _facts(workload: Workload) -> str:
    """What the prediction stands on, as text."""
    way, links = way_of(workload.config), workload.links
    setup, parameters = workload.setup(way), sum(workload.parameter_bytes())
    updates = workload.stretches(way)
    passes = [f"{1e3 * seconds:.3g}" for seconds in (setup.table("forward") + setup.table("backward"))[:, 0]]
    between = (
        f"memory of this machine, {1e6 * links.stages.latency:.0f} us a message and {1e9 * links.send.byte:.2g} ns "
        "a byte to hand over"
        if links.stages.shared
        else f"a link of {8e-9 * links.stages.bandwidth:g} Gbit/s and {1e6 * links.stages.latency:g} us an agent"
    )
    averaged = 1e3 * links.replicas.allreduce(parameters, max(way.replicas, 2))
    return "\n".join(
        [
            f"stages: {', '.join(passes)} ms forward and backward, measured now on this machine",
            f"messages: {', '.join(f'{stage.message_bytes:.3g}' for stage in setup.stages[:-1]) or 'none'} bytes by "
            + between,
            f"jitter: {100 * setup.jitter:.2g}% of these times, from update to update",
            f"averaging: {parameters:.3g} bytes, {averaged:.3g} ms alone",
            f"updates: {len(updates)} epochs of {updates[0]}; each ends in a flush",
        ]
    )


def _rows(workload: Workload) -> list[list[str]]:
    """The rows of the table: the way that was asked for, and others on as many agents."""
    asked = way_of(workload.config)
    rows = [
        ["method", "K", "S", "batch", "staleness", "microbatches", *FIGURES[:2], *(f"{lock} lock %" for lock in LOCKS)]
    ]
    for way in [asked, *(way for way in _others(asked) if way != asked)]:
        times = _times(workload, way)
        if times is not None:
            rows.append(_row(way, times, workload.units(way)))
    return rows


def _others(asked: Way) -> list[Way]:
    """Ways to use as many agents, with as many samples an update."""
    stages, replicas, batch = asked.stages, asked.replicas, asked.batch_size
    ways = [Way(DistributedData(), 1, stages * replicas, batch // stages)] if batch % stages == 0 else []
    if stages > 1:
        ways += [Way(Decoupled(), stages, replicas, batch, staleness) for staleness in (0, 1, 2)]
        ways += [
            Way(method, stages, replicas, batch, 0, count)
            for method in (kind() for kind in choices(Method).values() if kind.microbatched)
            for count in MICROBATCHES
            if batch % count == 0 and method.misfit(stages, count) is None
        ]
    return ways


def _times(workload: Workload, way: Way) -> Times | None:
    """Predict the times of a way to train; None where there are not enough samples or layers."""
    try:
        return workload.predict(way)
    except (ConfigError, ValueError):
        return None


def _row(way: Way, times: Times, units: int) -> list[str]:
    speed, efficiency, *locks = figures(times, units)
    axes = (way.stages, way.replicas, way.batch_size, way.staleness, way.microbatches)
    return [
        way.method.name,
        *map(str, axes),
        f"{speed:.0f}",
        f"{efficiency:.3f}",
        *(f"{100 * lock:.1f}" for lock in locks),
    ]


def figures(times: Times, units: int) -> list[float]:
    """Units per second, efficiency, and the locks' fractions."""
    return [times.units_per_second(units), times.efficiency, *(times.locking(lock) for lock in LOCKS)]


# --------------------------------------------------------------------------------------------------------- and a record
def _beside_the_record(workload: Workload, folder: RunFolder) -> str:
    """What the run was in truth, if it has been made."""
    config = workload.config
    record = known_record(folder)
    if record is None:
        return f"{folder.record}: there is no such run to compare with"
    metrics = record["metrics"] | {SPEED: speed_in(record)}
    names = [SPEED, "throughput/efficiency", *(f"locking/{lock}_fraction" for lock in LOCKS)]
    columns = [figures(workload.predict(way_of(config)), config.units)]
    rows = [["figure", "measured", "predicted", "error"]]
    if not config.method.microbatched:
        columns.append(figures(replay(record, workload), config.units))
        rows[0] += ["predicted with its own seconds", "error"]
    for number, (figure, name) in enumerate(zip(FIGURES, names, strict=True)):
        if name not in metrics:  # a lock that is newer than the record
            continue
        cells = [f"{metrics[name]:.4g}"]
        for column in columns:
            cells += [f"{column[number]:.4g}", _error(figure, column[number], metrics[name])]
        rows.append([figure, *cells])
    lines = [f"{folder.record}:", *align(rows)]
    if record["environment"].get("oversubscribed"):
        lines.append("Its agents shared cores, which is not predicted.")
    if record["environment"].get("colocated"):
        lines.append("Other runs trained beside it, which is not predicted.")
    return "\n".join(lines)


def _error(figure: str, predicted: float, measured: float) -> str:
    """The error of a prediction as text: in per cent, or of a lock, which may be 0, in points of the wall time."""
    if figure.endswith("lock"):
        return f"{100 * (predicted - measured):+.1f} points"
    return f"{100 * (predicted / measured - 1):+.1f} %"


def replay(record: dict[str, Any], workload: Workload) -> Times:
    """Walk the clock of a finished run of ``decoupled`` or ``ddp`` with what its agents took for all but waiting."""
    ends = [0, *(epoch["step"] for epoch in record["epochs"])]
    sizes = workload.parameter_bytes()

    def seconds(stage: int, cost: str, share: int = 1) -> Sequence[float]:
        kinds = [section.name for section in SECTIONS if section.cost == cost]
        agents = [agent for agent in record["agents"] if agent["stage"] == stage]
        ordered = sorted(agents, key=lambda agent: int(agent["replica"]))
        return [sum(agent["seconds"].get(kind, 0.0) for kind in kinds) / ends[-1] / share for agent in ordered]

    stages, arriving = [], 0
    for number, part in enumerate(record["partition"]):
        leaving = part["message_bytes"]
        stages.append(
            StageCost(
                seconds(number, "forward"),
                seconds(number, "backward"),
                seconds(number, "update"),
                message_bytes=leaving,
                parameter_bytes=sum(sizes[part["first_layer"] : part["last_layer"] + 1]),
                data=seconds(number, "data"),
                send=seconds(number, "send", max(1, (arriving > 0) + (leaving > 0))),
                receive=workload.links.receive.seconds(max(arriving, leaving)),
                averaging=seconds(number, "averaging"),
            )
        )
        arriving = leaving
    setup = workload.setup(way_of(workload.config))
    return predict(replace(setup, stages=stages), [after - before for before, after in pairwise(ends)])
