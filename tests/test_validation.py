"""The images that no update sees: drawn once, by class, and judged by until the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine.method.agent import Agent
from bench.engine.method.reference import Reference
from bench.engine.worker import Evaluation
from bench.keys import ConfigError
from bench.record.schema import check_record
from bench.task.contract import Split
from bench.task.data.digits import Digits
from bench.task.data.synthetic import Synthetic
from bench.task.image_batches import ImageBatches
from bench.task.labelled import LabelledImages, stratified
from tests import tiny
from tests.commands import TINY, read_json, said
from tests.tiny import VALUES

HELD_OUT = {**VALUES["data"], "validation": 0.125}
"""12 of 96 images."""
FIRST = [5, 10, 18, 25, 34]
"""The first images of the digits that are held out."""


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.floats(0, 0.99))
def test_every_class_has_its_share(labels: list[int], share: float) -> None:
    """As many in all as the share says, and of no class an image more or less than its own share would round to."""
    drawn = stratified(torch.tensor(labels), share).tolist()
    assert drawn == sorted(set(drawn))
    assert len(drawn) == round(len(labels) * share)
    found = Counter(labels[index] for index in drawn)
    for label, count in Counter(labels).items():
        assert abs(found[label] - count * share) < 1


def test_of_50000_balanced_images_500_of_each_class_are_held_out() -> None:
    labels = torch.arange(50000) % 10
    drawn = stratified(labels, 0.1)
    assert torch.bincount(labels[drawn]).tolist() == [500] * 10
    assert drawn.float().mean() == pytest.approx(25000, abs=500)


def digits(validation: float) -> LabelledImages:
    found = Digits(validation=validation).load()
    assert isinstance(found, LabelledImages)
    return found


def test_the_draw_is_the_same_whatever_the_run() -> None:
    """The digits' file is the same for all shares, and these of them come first."""
    held_out = digits(0.1).held_out
    assert len(held_out) == 144
    assert held_out[:5].tolist() == FIRST
    assert len(digits(0.0).held_out) == 0


def test_no_update_sees_an_image_that_is_held_out() -> None:
    """Two replicas, three epochs; and batches of the held-out images count each once."""
    dataset = Synthetic([1, 1, 1], 2, 40, 1).read().hold_out(0.25)
    seen: set[int] = set()
    for replica in (0, 1):
        batches = tiny.batches_of(dataset, seed=0, batch_size=3, replica=replica, replicas=2)
        assert isinstance(batches, ImageBatches)
        assert batches.batches == 5
        drawn = [dataset.fitted[batches._chosen(batches._drawn(epoch), i)] for epoch in range(3) for i in range(5)]
        seen |= set(torch.cat(drawn).tolist())
    assert seen == set(dataset.fitted.tolist())
    assert not seen & set(dataset.held_out.tolist())
    judged = batches.judged["validation"]
    labels = torch.cat([judged.targets(index)[: judged.valid(index)] for index in range(judged.batches)])
    assert labels.tolist() == dataset.train_labels[dataset.held_out].tolist()


@pytest.mark.parametrize(("share", "count"), [(0.01, 0), (0.99, 12)])
def test_a_share_that_leaves_nothing_is_refused(share: float, count: int) -> None:
    with pytest.raises(ConfigError) as error:
        Synthetic([1, 1, 1], 2, 12, 1, validation=share).load()
    message = f"data.validation={share}: of 12 training images {count} would be for validation"
    assert str(error.value) == f"{message}; allowed is 0 and what leaves some"


@pytest.mark.parametrize("engine", ["distributed", "reference"])
def test_the_test_images_are_looked_at_once(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Split] = []
    for kind in (Agent, Reference):
        evaluate = kind.evaluate

        def noted(self: object, split: Split, evaluate: object = evaluate) -> Evaluation:
            asked.append(split)
            return evaluate(self, split)  # type: ignore[operator, no-any-return]

        monkeypatch.setattr(kind, "evaluate", noted)
    found = tiny.alone(tiny.config(engine=engine, data=HELD_OUT, epochs=3))
    assert asked == ["validation"] * 3 + ["test"]
    for epoch in found.epochs:
        assert {"accuracy/validation", "loss/validation"} <= epoch.keys()
        assert not {"accuracy/test", "loss/test"} & epoch.keys()
    last = found.epochs[-1]
    assert found.metrics["accuracy/validation"] == last["accuracy/validation"]
    assert found.metrics["loss/test"] != last["loss/validation"]
    asked.clear()
    plain = tiny.alone(tiny.config(engine=engine, epochs=3))
    assert asked == ["test"] * 3
    assert plain.metrics["accuracy/test"] == plain.epochs[-1]["accuracy/test"]
    assert "accuracy/validation" not in plain.metrics


def test_both_engines_judge_alike() -> None:
    one, other = (tiny.alone(tiny.config(engine=engine, data=HELD_OUT)) for engine in ("distributed", "reference"))
    for name in ("accuracy/validation", "loss/validation", "accuracy/test", "loss/test"):
        assert one.metrics[name] == other.metrics[name]


def test_a_run_that_diverges_is_not_tested() -> None:
    """Its flush says that it has: the test images are for networks that are worth something."""
    lr = {**VALUES["lr"], "gamma0": 1e200, "warmup_steps": 0}
    with patch.object(Agent, "evaluate", autospec=True, side_effect=Agent.evaluate) as evaluate:
        found = tiny.alone(tiny.config(data=HELD_OUT, lr=lr))
    assert [call.args[1] for call in evaluate.call_args_list] == ["validation"]
    assert found.status == "diverged"
    assert found.metrics["accuracy/test"] != found.metrics["accuracy/test"]


def test_a_record_says_both(tmp_path: Path) -> None:
    """Lines of progress are of the curve; the tables are of the test images."""
    ran = said(tmp_path, *TINY, "engine=reference", "data.validation=0.25", "epochs=2")
    assert ran.err.count("validation accuracy ") == 2
    assert "test accuracy %" in ran.out
    (file,) = tmp_path.glob("runs/*/record.json")
    record = read_json(file)
    check_record(record)
    assert (record["data"]["train_images"], record["data"]["validation_images"]) == (48, 16)
    assert {"accuracy/validation", "accuracy/test"} <= record["metrics"].keys()
