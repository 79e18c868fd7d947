"""The command line: picks a verb, nothing else."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from bench.choice import choices
from bench.keys import ConfigError
from bench.study.launcher.packages import importable
from bench.study.sweep.settings import contracts
from bench.system import signals
from bench.system.text import masked

EXIT_FAILED, EXIT_WRONG = 1, 2
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Errors of a disk, which may strike whatever is written."""
VERBS = ("run", "tune", "rates", "predict", "report", "sync", "ui", "data", "download", "benchmark", "gpu", "network")


class Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        return f"{super().format_help()}\n{epilog()}\n"

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; python -m bench --help shows what is allowed")


HELP = """\
examples:
  python -m bench                                          one run: two stages, one replica, FDG, embedded digits
  python -m bench stages=2 replicas=2 staleness=1          DDG on a 2 x 2 grid of agents
  python -m bench model=vgg model.depth=13 lr=constant lr.gamma0=0.05 averaging=gossip replicas=2
  python -m bench -m stages=1,2 staleness=0,1,2            a sweep; a point that has a record is not run again
  python -m bench -m 'model=glob(*,exclude=t*)' 'seed=range(0,5)'   as Hydra sweeps; also choice, sort and shuffle
  python -m bench -m +experiment=grid                      a committed sweep, conf/experiment/grid.yaml
  python -m bench -m +experiment=mine --config-dir mine    your own, mine/experiment/mine.yaml; also choices and presets
  python -m bench correction=halve --config-dir mine       your own class, by its _target_ in mine/correction/halve.yaml
  python -m bench --cfg job lr=polynomial                  the configuration that is composed; nothing runs
  python -m bench -m +experiment=grid dry_run=true         what that would run, and for how long
  python -m bench rates lr=polynomial lr.p=0.75            a schedule's verdict, caps and shape, without training
  python -m bench tune trials=40                           the best of the schedules that are proven to converge
  python -m bench tune -m staleness=0,2 trials=40          the same for back-propagation and FDG, with equal budgets
  python -m bench stages=2 lr=tuned/<study>                a run with what a study has found
  python -m bench predict stages=8 replicas=16             how fast that would be, without the machines for it
  python -m bench report runs_dir=runs                     tables and pictures of all runs, as results/report.html
  python -m bench sync                                     give MLflow the runs that it missed
  python -m bench ui                                       compare the last sweep's runs in MLflow's pages
  python -m bench engine=reference weights=latest          the oracle: all agents in this process, no messages
  python -m bench -m method=decoupled,1f1b,zero_bubble     delayed gradients against torch.distributed.pipelining
  python -m bench stages=1 replicas=2 method=ddp           torch's DistributedDataParallel
  python -m bench -m +contender=fdg,locked,ddp,1f1b        committed points of as many images an update
  python -m bench -m +experiment=throughput                all of these, five times each, as ratios with intervals
  python -m bench download data=cifar10                    fetch a data set that torchvision knows
  python -m bench data data=imagefolder data.folder=mine   decode and check your own; say what it is
  python -m bench benchmark                                the engine's speed, as interleaved ratios
  python -m bench gpu                                      the same on a GPU, where there is one
  python -m bench network --rates 1000,100                 FDG, DDP and 1F1B over a slow network; needs root
  torchrun --nnodes=2 --nproc-per-node=2 ... -m bench stages=4   the same code on several machines

overrides (Hydra's grammar; conf/config.yaml explains each key):
  stages replicas staleness method weights engine epochs max_steps batch_size seed device precision
  loss_limit channels_last partition backend microbatches runs_dir force dry_run

of tune (conf/tune.yaml explains each key):
  trials tuning.study tuning.database tuning.conditions=bound|constraint|shape|none tuning.objectives
  tuning.target tuning.pruning tuning.repeats tuning.families tuning.corrections, and the ranges
  tuning.gamma0 t0 p final rise warmup momentum weight_decay beta until

tracking.uri and tracking.experiment, where not given, are those of MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME
exit codes: 0 there is a result, 1 a run failed, 2 the configuration is wrong, 130 interrupted
"""


def epilog() -> str:
    """What ``--help`` ends with: examples, keys, and a line for every choice, in its own words."""
    lines = []
    for contract in contracts():
        for name, kind in choices(contract).items():
            words = " ".join((kind.__doc__ or "").partition("\n\n")[0].replace("``", "").split())
            lines.append(f"  {f'{contract.group}={name}':<29} {words}")
    return "\n".join([HELP, "choices (python -m bench --cfg job model=vgg prints the keys of one):", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words.pop(0) if words and words[0] in VERBS else "run"
    try:
        arguments = parser_of(verb).parse_intermixed_args(words)
        verb_main: Callable[[argparse.Namespace], int] = importlib.import_module(f"bench.study.verbs.{verb}").main
        with signals.terminable(), importable(arguments.config_dir):
            return verb_main(arguments)
    except ConfigError as error:
        _say(shown(masked(str(error))))
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


def shown(message: str) -> str:
    """Write the message as one line, whatever characters the user has typed."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)


def parser_of(verb: str) -> Parser:
    """Make the parser of what a verb takes."""
    parser = Parser(
        prog=f"python -m bench {verb}",
        usage=f"python -m bench [{'|'.join(VERBS)}] [-m] [key=value ...]",
        description="What do delayed gradients buy in throughput, and what do they cost in accuracy?",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-m", "--multirun", action="store_true", help="sweep: key=1,2,3 runs every combination")
    parser.add_argument(
        "--config-dir", metavar="DIR", help="your choices, experiments and presets, beside the suite's (conf)"
    )
    if verb == "run":
        parser.add_argument("--cfg", choices=["job"], help="print the configuration that is composed, and run nothing")
    if verb == "tune":
        parser.add_argument(
            "--results", default="results/studies", metavar="FOLDER", help="for tables (results/studies)"
        )
    if verb == "ui":
        parser.add_argument("--port", type=int, help="of MLflow's server on loopback (a free one)")
    if verb == "data":
        parser.add_argument("--output", metavar="FILE", help="where its description is written (printed)")
    if verb in ("benchmark", "gpu", "network"):
        parser.add_argument("--rounds", type=int, default=5, help="times that each contender is measured (5)")
    if verb == "predict":
        parser.add_argument(
            "--bandwidth", type=float, metavar="GBIT", help="Gbit/s of an agent's link (this machine's)"
        )
        parser.add_argument("--latency", type=float, metavar="US", help="microseconds of a message (this machine's)")
        parser.add_argument("--jitter", type=float, help="relative deviation of a stage's time (this machine's)")
        parser.add_argument("--results", default="results", metavar="FOLDER", help="where the picture goes (results)")
    if verb == "network":
        parser.add_argument("--rates", metavar="LIST", default="1000,100", help="of the network, Mbit/s (1000,100)")
    if verb == "report":
        parser.add_argument("--results", default="results", metavar="FOLDER", help="where it is written (results)")
        parser.add_argument("--target", type=float, help="test accuracy to reach, in 0..1 (99%% of back-propagation's)")
        parser.add_argument("--mix-hosts", action="store_true", help="compare throughputs of different machines")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="what differs from conf/config.yaml")
    return parser


if __name__ == "__main__":
    sys.exit(program())
