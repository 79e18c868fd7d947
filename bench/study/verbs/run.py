"""Train: one run, or with ``-m`` a sweep of them.

Each run has a folder of its own in ``runs_dir``, and a point that has a record there is not run again.

Examples::

    python -m bench                                          one run: two stages, one replica, FDG, embedded digits
    python -m bench stages=2 replicas=2 staleness=1          DDG on a 2 x 2 grid of agents
    python -m bench model=vgg model.depth=13 lr=constant lr.gamma0=0.05 averaging=gossip replicas=2
    python -m bench -m stages=1,2 staleness=0,1,2            a sweep; a point that has a record is not run again
    python -m bench -m 'model=glob(*,exclude=t*)' 'seed=range(0,5)'   as Hydra sweeps; also choice, sort and shuffle
    python -m bench -m +experiment=grid                      a committed sweep, conf/experiment/grid.yaml
    python -m bench -m +experiment=mine --config-dir mine    your own, mine/experiment/mine.yaml; also choices
    python -m bench correction=halve --config-dir mine       your own class, named in mine/correction/halve.yaml
    python -m bench --cfg job lr=polynomial                  the configuration that is composed; nothing runs
    python -m bench -m +experiment=grid dry_run=true         what that would run, and for how long
    python -m bench stages=2 lr=tuned/<study>                a run with what a study has found
    python -m bench engine=reference weights=latest          the oracle: all agents in this process, no messages
    python -m bench -m method=decoupled,1f1b,zero_bubble     delayed gradients against torch.distributed.pipelining
    python -m bench stages=1 replicas=2 method=ddp           torch's DistributedDataParallel
    python -m bench -m +contender=fdg,locked,ddp,1f1b        committed points of as many samples an update
    python -m bench -m +experiment=throughput                all of these, five times each, as ratios with intervals
    torchrun --nnodes=2 --nproc-per-node=2 ... -m bench stages=4   the same code on several machines
"""

from __future__ import annotations

import argparse

from bench.keys import ConfigError
from bench.study.sweep.compose import points, written
from bench.study.sweep.library import RUN, typed

MULTIRUN = True


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cfg", choices=["job"], help="print the configuration that is composed, and run nothing")


def main(arguments: argparse.Namespace) -> int:
    """Run what the command line asks for; return the exit code (design 3).

    Raises:
        ConfigError: a configuration is wrong; nothing was run.
        Interrupted: the user wants the end.
    """
    primary = RUN.beside(arguments.config_dir)
    if arguments.cfg:
        if arguments.multirun:
            raise ConfigError("--cfg=job: prints one run's configuration; allowed is a run, without -m")
        print(written(arguments.overrides, primary), end="")
        return 0
    asked = points(arguments.overrides, arguments.multirun, primary)
    if asked[0].settings.dry_run:
        from bench.study.predict.preview import preview

        return preview(asked)
    from bench.study.sweep.sweep import run_all

    return run_all(asked, typed(arguments.overrides, arguments.config_dir))
