"""Traces, and their pictures."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bench.plan.forecast.costs import StageCost
from bench.plan.sections import KINDS, LOCKS, OTHER, SECTIONS
from bench.record.trace import chrome_trace
from bench.study.report.figure import new_figure
from bench.study.report.timeline import TICKS_DRAWN, draw
from bench.study.report.timeline import _legend as legend

SPANS: list[list[Any]] = [
    ["backward_lock", -1, 7, 3.0, 3.001],
    ["backward", 5, 7, 3.001, 3.02],
    ["forward", 7, 7, 3.02, 3.03],
    ["update_lock", -1, 7, 3.03, 3.031],
]


def _agents(replicas: int = 1, stages: int = 2, ticks: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "replica": replica,
            "stage": stage,
            "spans": [
                [kind, batch, tick, start + 0.04 * later, stop + 0.04 * later]
                for later in range(ticks)
                for kind, batch, tick, start, stop in [(*span[:2], span[2] + later, *span[3:]) for span in SPANS]
            ],
        }
        for replica in range(replicas)
        for stage in range(stages)
    ]


def test_spans_become_complete_events_in_microseconds_from_the_first() -> None:
    trace = chrome_trace([{"replica": 1, "stage": 0, "spans": SPANS}])
    complete = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["cat"]) for event in complete] == [
        ("backward_lock", "wait"),
        ("backward", "compute"),
        ("forward", "compute"),
        ("update_lock", "wait"),
    ]
    backward = complete[1]
    assert backward["ts"] == pytest.approx(1000)
    assert backward["dur"] == pytest.approx(19000)
    assert (backward["pid"], backward["tid"]) == (1, 0)
    assert backward["args"] == {"batch": 5, "tick": 7}
    assert complete[0]["args"] == {"tick": 7}


def test_agents_are_named_and_share_one_clock() -> None:
    late = [[kind, batch, tick, start + 1, stop + 1] for kind, batch, tick, start, stop in SPANS]
    trace = chrome_trace([{"replica": 0, "stage": 1, "spans": late}, {"replica": 0, "stage": 0, "spans": SPANS}])
    names = [(event["name"], event["args"]["name"]) for event in trace["traceEvents"] if event["ph"] == "M"]
    assert names == [("process_name", "replica 0"), ("thread_name", "stage 0"), ("thread_name", "stage 1")]
    firsts = {event["tid"]: event["ts"] for event in reversed(trace["traceEvents"]) if event["ph"] == "X"}
    assert firsts == {0: pytest.approx(0), 1: pytest.approx(1e6)}


def test_a_trace_is_json() -> None:
    trace = chrome_trace(_agents())
    assert json.loads(json.dumps(trace)) == trace


def test_a_kind_of_time_that_is_new_has_a_place(tmp_path: Path) -> None:
    trace = chrome_trace([{"replica": 0, "stage": 0, "spans": [*SPANS, ["thinking", -1, 7, 3.04, 3.05]]}])
    assert [event["cat"] for event in trace["traceEvents"] if event["name"] == "thinking"] == ["other"]
    draw(trace, tmp_path / "new.png")
    assert _size(tmp_path / "new.png")[0] > 0


def test_every_kind_of_time_is_told_apart_and_counts_once() -> None:
    assert len({section.colour for section in SECTIONS}) == len(SECTIONS) == len(KINDS)
    costs = {field.name for field in fields(StageCost)}
    for section in SECTIONS:
        waits = section.counts == "wait"
        assert waits == bool(section.hatch) == section.name.endswith("_lock") == (section.name in LOCKS.values())
        assert section.cost in ({""} if waits or section == OTHER else costs)
    spans = [[kind, -1, 0, number, number + 1] for number, kind in enumerate(KINDS)]
    trace = chrome_trace([{"replica": 0, "stage": 0, "spans": spans}])
    counted = {event["name"]: event["cat"] for event in trace["traceEvents"] if event["ph"] == "X"}
    assert counted == {section.name: section.counts for section in SECTIONS}
    axes = new_figure(4, 4, dpi=100).add_subplot()
    legend(axes, {*KINDS, "thinking"})
    told = axes.get_legend()
    assert told is not None
    titles = [text.get_text() for text in told.get_texts()]
    assert titles == [*(section.title for section in SECTIONS), "thinking"]


def _size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


def test_a_picture_grows_with_agents_but_not_beyond_a_page_of_ticks(tmp_path: Path) -> None:
    small, page, long = tmp_path / "new" / "small.png", tmp_path / "page.png", tmp_path / "long.png"
    draw(chrome_trace(_agents()), small)
    draw(chrome_trace(_agents(replicas=2, ticks=TICKS_DRAWN)), page)
    draw(chrome_trace(_agents(replicas=2, ticks=3 * TICKS_DRAWN)), long)
    assert _size(small)[0] < _size(page)[0]
    assert _size(small)[1] < _size(page)[1]
    assert _size(page) == _size(long)


def test_an_empty_trace_has_a_picture(tmp_path: Path) -> None:
    draw(chrome_trace([]), tmp_path / "empty.png")
    assert _size(tmp_path / "empty.png")[0] > 0
