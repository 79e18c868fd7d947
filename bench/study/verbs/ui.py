"""Open MLflow's pages where they compare the last sweep's runs.

Its server runs until it is interrupted. With ``-m``, the sweep is the one that the overrides compose.

Examples::

    python -m bench ui                                       compare the last sweep's runs in MLflow's pages
    python -m bench ui -m +experiment=grid                   those of a committed sweep
"""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from bench.keys import ConfigError
from bench.record.runs_dir import Sweep, read_sweeps
from bench.study.sweep.compose import points
from bench.study.sweep.library import RUN
from bench.study.tracking import view
from bench.study.tracking.experiment import Experiment
from bench.study.tracking.family import Family, family_of, last_family
from bench.study.tracking.mlflow import MLflow
from bench.study.tracking.mlflow_tracker import IMPATIENCE, SETTINGS
from bench.study.tracking.store import find_store, is_server, settled, silenced, wrong_uri
from bench.study.tracking.webserver import ServerError, serving

MULTIRUN = True


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="of MLflow's server on loopback (a free one)")


def main(arguments: argparse.Namespace) -> int:
    """Serve the store until interrupted, and open the comparison of its last sweep's runs.

    Where ``tracking.uri`` is a server's address, only the comparison is opened. With ``-m``, the sweep is the one that
    the overrides compose.

    Raises:
        ConfigError: an override is wrong, there is no MLflow at ``tracking.uri``, or it has no such runs.
        Interrupted: the user wants the end; the server is gone.
    """
    asked = points(arguments.overrides, arguments.multirun, RUN.beside(arguments.config_dir))
    settings = asked[0].settings
    tracking = settings.tracking
    if not isinstance(tracking, MLflow):
        raise ConfigError(f"tracking={tracking.name!r}: there is nothing to look into; allowed is {MLflow.name}")
    if arguments.multirun:
        sweeps = [Sweep(tuple(arguments.overrides), tuple(point.config.hash() for point in asked))]
    else:
        sweeps = list(read_sweeps(Path(settings.runs_dir)))[::-1]
    experiment, family = _prepare(tracking, sweeps, arguments.multirun)
    if is_server(tracking.uri):
        show(tracking.uri, experiment, family)
        return 0
    try:
        with serving(tracking.uri, arguments.port) as server:
            show(server.address, experiment, family)
            print("Ctrl-C ends the server", flush=True)
            server.wait()
    except ServerError as error:
        print(f"bench: {error}", file=sys.stderr)
    return 1


def _prepare(tracking: MLflow, sweeps: Sequence[Sweep], chosen: bool) -> tuple[str, Family]:
    """Find the experiment's id, and the runs to compare; the experiment has a view of these from now on.

    Args:
        sweeps: newest first.
        chosen: whether it is to be the first of them, even if it has no runs.
    """
    with settled(SETTINGS | IMPATIENCE), silenced():
        from mlflow.exceptions import MlflowException

        client, experiment = find_store(tracking.uri, tracking.experiment)
        try:
            runs = Experiment(client, experiment).search("")
            family = family_of(sweeps[0], runs) if chosen else last_family(runs, sweeps)
            if not family.runs:
                whose = "of these points" if chosen else "yet"
                raise ConfigError(f"tracking.uri={tracking.uri!r}: holds no finished runs {whose}")
            shown = {run.info.run_id: run.data.params for run in family.runs[: view.RUNS_A_VIEW]}
            content = view.content(shown, view.Shown.of(family.runs[0]))
            client.set_experiment_tag(experiment, view.TAG + view.key(family.name), content)
        except MlflowException as error:
            raise wrong_uri(tracking.uri, error) from None
    return experiment, family


def show(server: str, experiment: str, family: Family) -> None:
    """Print the comparison's address, and open it where there is a browser with a window."""
    address = view.address(server, experiment, family.name)
    total, shown = len(family.runs), min(len(family.runs), view.RUNS_A_VIEW)
    number = f"{total} runs" if total == shown else f"the newest {shown} of {total} runs"
    print(f"{family.title}, {number}: {address}", flush=True)
    if has_window():
        webbrowser.open(address)


def has_window() -> bool:
    """Whether a browser could open one; where there is no screen, Python would start one that takes the terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
