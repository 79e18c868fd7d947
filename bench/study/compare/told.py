"""What benchmarks have measured, as tables for a page of results."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.study.report.align import NOTHING, align
from bench.study.report.markdown import Chapter

if TYPE_CHECKING:
    from pandas import DataFrame

FIGURES = (
    *("FDG / one core", "FDG / locked", "FDG / DDP", "FDG / both stages alone", "FDG again / FDG"),
    *("FDG: efficiency", "FDG: locking fraction", "locked: efficiency", "locked: locking fraction"),
    *("FDG, K=4 / one core: processor time", "four replicas / one core: processor time"),
    *("one core / minimal loop", "minimal loop, compiled / minimal loop", "one core / one core, contiguous"),
    "FDG: following the run / training time",
    *("FDG: seconds of a checkpoint", "FDG: checkpoints / training time"),
    *("25 million parameters: seconds of a checkpoint", "25 million parameters: checkpoints / training time"),
)
"""The figures of a benchmark that are told, beside those of the fastest pipelines."""


BENCHMARKS = {
    "benchmark": {"float32": "benchmark.csv", "bfloat16": "benchmark-bfloat16.csv"},
    "other networks": {"VGG-11": "benchmark-vgg.csv", "wide ResNet 16-2": "benchmark-wide_resnet.csv"},
    "a language model": {"GPT, 4 layers of width 128": "benchmark-gpt.csv"},
}
"""Files of ``python -m bench benchmark``, by section and by what their columns are called."""
METHODS = """Interleaved rounds in random order, geometric means of ratios within a round, 95% intervals.

- **FDG** K=2, staleness 2; "FDG again" is the noise floor, "both stages alone" the ceiling: both stages
  compute at once, and none sends or waits. **one core** is K=1, S=1; **locked** back-propagation through two
  stages; **DDP** two ranks.
- **the fastest pipeline** of the four methods with 2, 4 and 8 microbatches, which hand messages over in
  shared memory as FDG does; **the fastest plain pipeline** is `torch.distributed.pipelining` as a script uses
  it, with its own messages.
- **minimal loop**: one core's training written by hand, and the same by `torch.compile`. "following" is what
  the parent process does for progress and MLflow meanwhile.
- **checkpoint**: what the ranks take from a flush point until it is on the disk, and its share of ten minutes.
- **K=4** and **four replicas** (K=1, S=4) have four agents on the two cores: processor time a unit over one
  core's.
- **predicted / measured**: how good predictions are, least and greatest of all methods, made in the same
  round."""
NETWORK = """Two network namespaces of one machine, joined by a line that a token bucket keeps slow, play two hosts,
each with one agent under `torchrun`. An MLP is heavy in parameters, which DDP has to average; a ResNet in
activations, which stages hand on."""


def benchmark_sections(folder: Path) -> Iterator[Chapter]:
    """What a page tells of the benchmarks whose files lie in a folder."""
    import pandas

    for name, files in BENCHMARKS.items():
        paths = {called: folder / file for called, file in files.items() if (folder / file).exists()}
        if paths:
            frames = {called: pandas.read_csv(path) for called, path in paths.items()}
            about = [_measured("make benchmark", paths.values(), frames.values()), METHODS]
            yield Chapter(name, [*about[: 1 + (name == "benchmark")], benchmark_table(frames)], {}, {})
    network = folder / "network.csv"
    if network.exists():
        frame = pandas.read_csv(network)
        about = [_measured("python -m bench network --rounds 2", [network], [frame]), NETWORK]
        yield Chapter("network", [*about, network_table(frame)], {}, {})


def _measured(command: str, paths: Iterable[Path], frames: Iterable[DataFrame]) -> str:
    """The command, the files and the machines that they were measured on."""
    files = ", ".join(f"[{path.name}]({path.name})" for path in paths)
    known = ("cpu", "cores", "torch")
    machines = {tuple(map(str, row)) for frame in frames for row in frame[list(known)].itertuples(index=False)}
    told = "; ".join(f"{cores} x {cpu}, torch {torch}" for cpu, cores, torch in sorted(machines))
    return f"`{command}` on {told}: {files}."


def benchmark_table(frames: Mapping[str, DataFrame]) -> str:
    """A column a benchmark; of the pipelines only the fastest, of the predictions the least and the greatest.

    Args:
        frames: the benchmarks' tables, by what their columns are called.
    """
    known = [frame.set_index("figure") for frame in frames.values()]
    lines = [["figure", *frames, "asked for"]]
    rows = {figure: [_row(frame, figure) for frame in known] for figure in FIGURES}
    lines += [[figure, *_cells(found)] for figure, found in rows.items() if any(row is not None for row in found)]
    for how, called in (("", "the fastest pipeline"), ("plain ", "the fastest plain pipeline")):
        best = [_row(frame, rf"FDG / {how}(?!plain)\S+, \d microbatches") for frame in known]
        if any(row is not None for row in best):
            lines.append([f"FDG / {called}", *_cells(best)])
            lines.append(["that is, by microbatches", *map(_pipeline, best), NOTHING])
    predicted = [frame.filter(regex="predicted / measured$", axis=0)["mean"] for frame in known]
    ranges = [f"{means.min():.3g} to {means.max():.3g}" for means in predicted]
    return "\n".join(align([*lines, ["methods: predicted / measured", *ranges, "0.9 to 1.1"]]))


def network_table(frame: DataFrame) -> str:
    """A row for each method over each line."""
    speed = next(name for name in frame if re.fullmatch(r"[^_]+_per_second", name))
    size = next(name for name in frame if name.startswith("line_bytes_per_"))
    heads = [speed.replace("_per_second", "/s"), "FDG over it", size.removeprefix("line_").replace("_", " ")]
    lines = [["model", "Mbit/s", "method", *heads, "locking %", "predicted / measured"]]
    for row in frame.to_dict("records"):
        cells = [str(row["model"]), f"{row['megabits']:g}", str(row["method"]), f"{row[speed]:.0f}"]
        cells += [_interval(row, "fdg_over_it"), f"{row[size]:.0f}", f"{100 * row['locking']:.0f}"]
        lines.append([*cells, _interval(row, "predicted_over_measured")])
    return "\n".join(align(lines))


def _row(frame: DataFrame, figure: str) -> Any:
    """The one figure of that name, or pattern; None where it was not measured."""
    rows = frame[frame.index.str.fullmatch(figure)]
    assert len(rows) <= 1, list(rows.index)
    return rows.iloc[0] if len(rows) else None


def _cells(rows: Sequence[Any]) -> list[str]:
    """The cells of a figure: means with their intervals, and what was asked for."""
    known = [row for row in rows if row is not None]
    asked = dict.fromkeys(f"{row['asked']:g}" for row in known if not math.isnan(row["asked"]))
    return [NOTHING if row is None else _mean(row) for row in rows] + [", ".join(asked) or NOTHING]


def _pipeline(row: Any) -> str:
    return NOTHING if row is None else str(row.name).removeprefix("FDG / ").removesuffix(" microbatches")


def _mean(row: Any) -> str:
    return f"{row['mean']:.3g} ({row['low']:.3g} to {row['high']:.3g})"


def _interval(row: Mapping[Any, Any], name: str) -> str:
    """The text ``1.52 (1.31 to 1.77)``; ``-`` where there is nothing."""
    mean, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    return NOTHING if math.isnan(mean) else f"{mean:.2f} ({low:.2f} to {high:.2f})"
