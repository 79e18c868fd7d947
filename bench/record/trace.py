"""A run's timeline as a trace that Chrome and Perfetto show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.plan.sections import BY_NAME, OTHER


def chrome_trace(agents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The spans of all agents as a Chrome trace whose clock starts with the first span.

    Args:
        agents: of each agent ``replica``, ``stage`` and ``spans``, a list of [kind, batch or -1, tick, start, stop],
            with start and stop in seconds of a clock that all agents share.
    """
    origin = min((span[3] for agent in agents for span in agent["spans"]), default=0.0)
    events: list[dict[str, Any]] = []
    for agent in sorted(agents, key=lambda agent: (agent["replica"], agent["stage"])):
        replica, stage = agent["replica"], agent["stage"]
        if not any(event["pid"] == replica for event in events):
            events.append(_name("process_name", f"replica {replica}", replica, stage))
        events.append(_name("thread_name", f"stage {stage}", replica, stage))
        events += [_complete(span, origin, replica, stage) for span in sorted(agent["spans"], key=lambda span: span[3])]
    return {"displayTimeUnit": "ms", "traceEvents": events}


def _name(kind: str, name: str, replica: int, stage: int) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": replica, "tid": stage, "args": {"name": name}}


def _complete(span: Sequence[Any], origin: float, replica: int, stage: int) -> dict[str, Any]:
    kind, batch, tick, start, stop = span
    return {
        "name": kind,
        "cat": BY_NAME.get(kind, OTHER).counts,
        "ph": "X",
        "ts": round((start - origin) * 1e6, 3),
        "dur": round((stop - start) * 1e6, 3),
        "pid": replica,
        "tid": stage,
        "args": {"tick": tick} if batch < 0 else {"batch": batch, "tick": tick},
    }
