"""``dry_run=true``: what a command would run, and how long that would take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from bench.study.launcher.check import check_all
from bench.study.launcher.task import label
from bench.study.predict.estimate import duration, estimate
from bench.study.sweep.compose import Point
from bench.system.call import Call, warm_up


def preview(points: Sequence[Point]) -> int:
    """Print the points, the equivalent ones, and an estimate of the time of those that are to run; nothing is written.

    Raises:
        ConfigError: a configuration is wrong.
    """
    settings = points[0].settings
    settings.check_launcher()
    warm_up()
    configs = [point.config for point in points]
    seconds: list[float] = Call(estimate, configs, Call(check_all, configs).result()).result()
    launcher = settings.starter()
    due = [settings.force or settings.known(config) is None for config in configs]
    for number, (point, is_due, estimated) in enumerate(zip(points, due, seconds, strict=True), start=1):
        words = f"about {duration(estimated)}" if is_due else "has a record"
        print(" ".join([f"{number}/{len(points)}", f"{label(point.config)}:", words, *point.overrides]))
        for equivalent in point.equivalents:
            print(f"    the same as {' '.join(equivalent)}")
    wanted, took = list(compress(configs, due)), list(compress(seconds, due))
    at_once = launcher.slots(wanted)
    told = f", up to {at_once} at once" if at_once > 1 else ""
    print(f"{len(points)} points, {len(wanted)} to run{told}, about {duration(launcher.span(wanted, took))}")
    return 0
