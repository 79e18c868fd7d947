"""Finished runs side by side, as one table of plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.config import PIPELINED, canonical
from bench.study.record import flatten

MARK = "*"
FOOTNOTE = "* more agents than cores: throughput is not comparable"
NOTHING = "-"

# What two runs must share, beside the size of a batch, for the ratio of their throughputs to be a speed-up.
WORKLOAD = ("model", "data", "device", "precision", "channels_last", "engine")
# In every table, or without a bearing on the result.
NOT_A_COLUMN = ("stages", "replicas", "staleness", "method", "partition", "tracking", "runs_dir", "force")


def summary(records: Sequence[Mapping[str, Any]]) -> str:
    """The records as a Markdown table, ordered by K, S and staleness.

    Keys of the configuration that differ between the runs (weights, model, seed, ...) get a column each. The speed-up
    is over the mean of the records with K=S=1 of the same workload, with as large batches as each replica has, or else
    as all of them have.
    """
    if not records:
        return "no runs"
    import pandas

    varying = _varying([record["config"] for record in records])
    baselines = _baselines(records)
    frame = pandas.DataFrame([_row(record, varying, baselines) for record in records])
    frame = frame.sort_values(["K", "S", "staleness"], kind="stable")
    lines = align([list(frame.columns), *([str(cell) for cell in row] for row in frame.itertuples(index=False))])
    if any(_oversubscribed(record) for record in records):
        lines += ["", FOOTNOTE]
    return "\n".join(lines)


def _row(record: Mapping[str, Any], varying: Sequence[str], baselines: Mapping[str, float]) -> dict[str, Any]:
    config, metrics = record["config"], record.get("metrics", {})
    mark = MARK if _oversubscribed(record) else ""
    known = (baselines.get(_workload(config, size)) for size in alike_batches(config, 1))
    baseline = next(filter(None, known), None)
    speed = metrics.get("throughput/images_per_second")
    ratio = speed / baseline if speed and baseline else None
    row = {"K": config["stages"], "S": config["replicas"], "staleness": canonical(config)["staleness"]}
    row |= {"method": config["method"]}
    row |= {key: _setting(config, key) for key in varying}
    row |= {"img/s": _number(speed, ".0f", mark), "speed-up": _number(ratio, ".2f", mark)}
    row["efficiency"] = _number(metrics.get("throughput/efficiency"), ".2f")
    for lock in ("forward", "backward", "update"):
        row[f"{lock} lock %"] = _percent(metrics.get(f"locking/{lock}_fraction"))
    row["test accuracy %"] = _percent(metrics.get("accuracy/test"))
    return row | {"status": record["status"]}


def alike_batches(keys: Mapping[str, Any], replicas: int) -> tuple[int, int]:
    """Sizes of a replica's batch in a run of so many replicas that one may be compared with, the first that there is.

    They are as large as its own, or make as many images an update: either way an image is the same work.
    """
    return keys["batch_size"], keys["batch_size"] * keys["replicas"] // replicas


def _baselines(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Images per second of K=S=1, by workload."""
    speeds: dict[str, list[float]] = {}
    for record in records:
        config, speed = record["config"], record.get("metrics", {}).get("throughput/images_per_second")
        if config["stages"] == config["replicas"] == 1 and speed:
            speeds.setdefault(_workload(config, config["batch_size"]), []).append(speed)
    return {workload: fmean(values) for workload, values in speeds.items()}


def _workload(config: Mapping[str, Any], batch_size: int) -> str:
    return json.dumps([batch_size, *(config.get(key) for key in WORKLOAD)], sort_keys=True)


def _varying(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The dotted keys whose values differ between runs that the key means something to."""
    keys = list(dict.fromkeys(key for config in configs for key in flatten(config)))
    candidates = [key for key in keys if key.partition(".")[0] not in NOT_A_COLUMN]
    return [key for key in candidates if len({_setting(config, key) for config in configs} - {NOTHING}) > 1]


def _setting(config: Mapping[str, Any], key: str) -> str:
    """The value of a dotted key as text; nothing where the key has no bearing on the run."""
    idle = {"weights": config["staleness"] == 0 or config["stages"] == 1, "averaging": config["replicas"] == 1}
    idle["microbatches"] = config["method"] not in PIPELINED
    value = flatten(config).get(key)
    if value is None or idle.get(key.partition(".")[0], False):
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value)


def _oversubscribed(record: Mapping[str, Any]) -> bool:
    return bool(record.get("environment", {}).get("oversubscribed"))


def _percent(fraction: float | None) -> str:
    return _number(None if fraction is None else 100 * fraction, ".1f")


def _number(value: float | None, form: str, mark: str = "") -> str:
    return NOTHING if value is None else format(value, form) + mark


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, the header first, as Markdown that is also straight in a terminal: numbers to the right."""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    numeric = [all(_is_number(row[column]) for row in rows[1:]) for column in range(len(widths))]
    rule = "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
    lines = [" | ".join(_pad(*cell) for cell in zip(row, widths, numeric, strict=True)) for row in rows]
    body = [f"| {line} |" for line in lines]
    return [body[0], f"|{rule}|", *body[1:]]


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _is_number(text: str) -> bool:
    return text == NOTHING or text.removesuffix(MARK).replace(".", "", 1).lstrip("-").isdigit()
