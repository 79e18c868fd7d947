"""What the README says can be clicked and typed, and its tables are those of ``results/``."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import pandas
import pytest

from bench.__main__ import parser_of, verb_names
from bench.study.report.align import MARK, align
from bench.study.sweep.compose import single, sweep
from bench.study.sweep.library import RUN
from bench.study.tune.study import TUNE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
BENCHMARKS: dict[tuple[str, ...], dict[str, str]] = {
    ("benchmark", "benchmark-bfloat16"): {"benchmark": "float32", "benchmark-bfloat16": "bfloat16"},
    ("benchmark-vgg", "benchmark-wide_resnet"): {
        "benchmark-vgg": "VGG-11",
        "benchmark-wide_resnet": "wide ResNet 16-2",
    },
}
"""Files of the README's tables, and what their columns are called."""
FIGURES = (
    *("FDG / one core", "FDG / locked", "FDG / DDP", "FDG / both stages alone", "FDG again / FDG"),
    *("FDG: efficiency", "FDG: locking fraction", "locked: efficiency", "locked: locking fraction"),
    *("FDG, K=4 / one core: processor time", "four replicas / one core: processor time"),
    *("one core / minimal loop", "minimal loop, compiled / minimal loop", "one core / one core, contiguous"),
    "FDG: following the run / training time",
)
"""The figures of a benchmark that the README tells."""
BENCH = [command.split("-m bench", 1)[1] for command in COMMANDS if "-m bench" in command]


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 10
    local = [link for link in links if not link.startswith("http")]
    files = [link for link in local if not link.startswith("#") and not (ROOT / link).exists()]
    headings = ["#" + title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)]
    anchors = [link for link in local if link.startswith("#") and link not in headings]
    assert not files + anchors


def test_its_choices_of_ones_own_are_those_of_the_tests() -> None:
    """Each piece is the whole text of a file, which is run by ``tests/test_outside.py``."""
    sources = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    named = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert sources == [(ROOT / f"tests/outside/{name}.py").read_text() for name in ("nets", "images", "rules")]
    assert dict(named) == {name: (ROOT / "tests/outside" / name).read_text() for name, _ in named}
    assert [name.split("/")[1] for name, _ in named] == ["model", "data", "correction"]


@pytest.mark.parametrize("command", BENCH)
def test_every_bench_command_composes(command: str) -> None:
    words = shlex.split(command)
    verb = words.pop(0) if words and words[0] in verb_names() else None
    if "--help" in words:
        return
    arguments = parser_of(verb).parse_intermixed_args(words)
    primary = TUNE if verb == "tune" else RUN
    if arguments.multirun:
        assert len(sweep(arguments.overrides, primary)) > 1
    else:
        assert single(arguments.overrides, primary)


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)?)", README))
    assert {"demo", "test", "benchmark"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("experiment", ["grid", "staleness", "cifar10_throughput"])
def test_tables_of_throughput_are_those_of_the_results(experiment: str) -> None:
    """On a failure, pytest shows the table that the README ought to have."""
    columns = ["K", "S", "staleness", "img/s", "over K=S=1", "over locked", "efficiency"]
    lines = [[*columns, "forward lock %", "backward lock %", "update lock %"]]
    for row in _rows(experiment, "throughput"):
        mark = MARK if row["oversubscribed"] else ""
        cells = [str(row["K"]), str(row["S"]), str(row["staleness"]), f"{row['images_per_second']:.0f}{mark}"]
        cells += [_interval(row, "over_single", 1, 2), _interval(row, "over_locked", 1, 2), f"{row['efficiency']:.2f}"]
        lines.append([*cells, *(f"{100 * row[f'{kind}_locking']:.1f}" for kind in ("forward", "backward", "update"))])
    assert "\n".join(align(lines)) in README


def test_the_table_of_methods_is_that_of_the_results() -> None:
    assert methods_table() in README


def methods_table() -> str:
    """The table of the throughput experiment: one core, DDP, both decoupled pipelines, and torch's pipelines."""
    lines = [["K", "S", "method", "staleness", "microbatches", "img/s", "over K=S=1", "over locked", "efficiency"]]
    lines[0].append("locking %")
    for row in _rows("throughput", "throughput"):
        cells = [str(row[key]) for key in ("K", "S", "method", "staleness")]
        cells += [f"{row['microbatches']:.0f}" if row["microbatches"] > 0 else "-", f"{row['images_per_second']:.0f}"]
        cells += [_interval(row, "over_single", 1, 2), _interval(row, "over_locked", 1, 2)]
        lines.append([*cells, f"{row['efficiency']:.2f}", f"{100 * row['total_locking']:.1f}"])
    return "\n".join(align(lines))


@pytest.mark.parametrize("experiment", ["accuracy", "cifar10"])
def test_tables_of_accuracy_are_those_of_the_results(experiment: str) -> None:
    lines = [["K", "staleness", "n", "test accuracy %", "less back-propagation's"]]
    for row in _rows(experiment, "accuracy"):
        cells = [str(row["K"]), str(row["staleness"]), str(row["n"]), _interval(row, "accuracy", 100, 1)]
        lines.append([*cells, _interval(row, "difference", 100, 1, "+")])
    assert "\n".join(align(lines)) in README


def test_the_table_of_tuning_is_that_of_the_results() -> None:
    lines = [["staleness", "conditions", "trials", "epochs trained", "best schedule", "gamma0", "momentum"]]
    lines[0] += ["test accuracy %", "less back-propagation's", "less any schedule's"]
    for row in _rows("tuning", "studies"):
        cells = [str(row[key]) for key in ("staleness", "conditions", "trials", "epochs_trained", "lr.name")]
        cells += [f"{row['lr.gamma0']:.2g}", f"{row['optimizer.momentum']:.2f}", _interval(row, "accuracy", 100, 1)]
        lines.append([*cells, *(_interval(row, f"over_{name}", 100, 1, "+") for name in ("locked", "unrestricted"))])
    assert "\n".join(align(lines)) in README


@pytest.mark.parametrize("names", BENCHMARKS)
def test_benchmarks_are_those_of_the_results(names: tuple[str, ...]) -> None:
    assert benchmark_table(*names) in README


def benchmark_table(*names: str) -> str:
    """A column a benchmark; of the pipelines only the fastest, of the predictions the least and the greatest."""
    frames = [pandas.read_csv(ROOT / f"results/{name}.csv", index_col="figure") for name in names]
    lines = [["figure", *(BENCHMARKS[names][name] for name in names), "asked for"]]
    rows = {figure: [_row(frame, figure) for frame in frames] for figure in FIGURES}
    lines += [[figure, *_cells(known)] for figure, known in rows.items() if any(row is not None for row in known)]
    for how, known_as in (("", "the fastest pipeline"), ("plain ", "the fastest plain pipeline")):
        best = [_row(frame, rf"FDG / {how}(?!plain)\S+, \d microbatches") for frame in frames]
        if any(row is not None for row in best):
            lines.append([f"FDG / {known_as}", *_cells(best)])
            lines.append(["that is, by microbatches", *(_pipeline(row) for row in best), "-"])
    predicted = [frame.filter(regex="predicted / measured$", axis=0)["mean"] for frame in frames]
    ranges = [f"{means.min():.3g} to {means.max():.3g}" for means in predicted]
    lines.append(["methods: predicted / measured", *ranges, "0.9 to 1.1"])
    return "\n".join(align(lines))


def _row(frame: pandas.DataFrame, figure: str) -> Any:
    """The one figure of that name, or pattern; None where it was not measured."""
    rows = frame[frame.index.str.fullmatch(figure)]
    assert len(rows) <= 1, list(rows.index)
    return rows.iloc[0] if len(rows) else None


def _cells(rows: list[Any]) -> list[str]:
    """The cells of a figure: means with their intervals, and what was asked for."""
    known = [row for row in rows if row is not None]
    asked = dict.fromkeys(f"{row['asked']:g}" for row in known if not math.isnan(row["asked"]))
    return ["-" if row is None else _mean(row) for row in rows] + [", ".join(asked) or "-"]


def _pipeline(row: Any) -> str:
    return "-" if row is None else str(row.name).removeprefix("FDG / ").removesuffix(" microbatches")


def _mean(row: Any) -> str:
    return f"{row['mean']:.3g} ({row['low']:.3g} to {row['high']:.3g})"


def test_the_table_of_the_network_is_that_of_the_results() -> None:
    assert network_table() in README


def network_table() -> str:
    lines = [["model", "Mbit/s", "method", "img/s", "FDG over it", "bytes an image", "locking %"]]
    lines[0].append("predicted / measured")
    for row in pandas.read_csv(ROOT / "results/network.csv").to_dict("records"):
        named = {str(key): value for key, value in row.items()}
        cells = [str(row["model"]), f"{row['megabits']:g}", str(row["method"]), f"{row['images_per_second']:.0f}"]
        cells += [_interval(named, "fdg_over_it", 1, 2), f"{row['line_bytes_per_image']:.0f}"]
        lines.append([*cells, f"{100 * row['locking']:.0f}", _interval(named, "predicted_over_measured", 1, 2)])
    return "\n".join(align(lines))


def _rows(experiment: str, table: str) -> list[dict[str, Any]]:
    frame = pandas.read_csv(ROOT / f"results/{experiment}/{table}.csv")
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _interval(row: dict[str, Any], name: str, scale: int, digits: int, sign: str = "") -> str:
    """The text ``1.52 (1.31 to 1.77)``; the mean alone of a single run, ``-`` where there is nothing."""
    mean, low, high = (
        f"{scale * row[key]:{sign}.{digits}f}" if not math.isnan(row[key]) else ""
        for key in (name, f"{name}_low", f"{name}_high")
    )
    return f"{mean} ({low} to {high})" if low else mean or "-"
