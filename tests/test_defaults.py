"""What a user gets who gives no rate: each model's own for the optimizer, with which it learns the digits."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import yaml
from PIL import Image

from bench.config import RunConfig, parse
from bench.keys import ConfigError
from bench.study.sweep.compose import compose, sweep
from bench.study.sweep.library import CONF
from bench.task.labelled import LabelledImages
from tests import tiny

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
OPTIMIZERS = sorted(yaml.safe_load((CONF / "model/resnet.yaml").read_text())["rates"])
"""The optimizers that the default model, and so every model, has a rate for."""
SCHEDULES = sorted(path.stem for path in (CONF / "lr").glob("*.yaml"))
SHARES = {"constant": 0.5, "warmup_stable_decay": 0.5, "onecycle": 2.0}
"""Factors on the model's rate that a schedule takes: one that stays for long less, one that is soon past it more."""


# ------------------------------------------------------------------------------------------------------------ the rates
@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_rate_for_every_optimizer(model: str) -> None:
    """No key of a run says where its rate came from."""
    rates = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text())["rates"]
    found = [point.config for point in sweep([f"model={model}", f"optimizer={','.join(OPTIMIZERS)}"])]
    assert {run.optimizer.name: run.lr.gamma0 for run in found} == rates
    assert sorted(rates) == OPTIMIZERS
    assert all("rates" not in run.resolved()["model"] for run in found)


def test_every_schedule_starts_from_the_models_rate() -> None:
    found = [point.config.lr for point in sweep(["model=mlp", f"lr={','.join(SCHEDULES)}"])]
    assert {lr.name: lr.gamma0 for lr in found} == {name: 0.01 * SHARES.get(name, 1.0) for name in SCHEDULES}


def test_runs_that_learnt_keep_their_names() -> None:
    """Their rates were once every model's: 0.1, or 0.05 and 0.2."""
    kept = {
        "lr=cosine": "d81baa1c6ff8",
        "lr=constant": "31f7237c6a59",
        "lr=onecycle": "371c3f67622a",
        "model=vgg": "b63096b788ee",
        "model=wide_resnet": "19a4aa7123ee",
    }
    assert {words: compose([words, "data.validation=0"]).hash() for words in kept} == kept
    assert compose(["model=mlp", "lr.gamma0=0.01"]) == compose(["model=mlp"])


def test_a_rate_that_is_given_is_taken() -> None:
    def rates(*words: str) -> list[float]:
        return [point.config.lr.gamma0 for point in sweep(words)]

    assert rates("model=mlp,vit", "lr.gamma0=0.3") == [0.3, 0.3]
    assert rates("model=mlp", "lr.gamma0=0.3,0.2", "optimizer=sgd,adamw") == [0.3, 0.3, 0.2, 0.2]
    assert rates("model=mlp", "model.rates.sgd=0.3,0.2", "lr=constant") == [0.15, 0.1]
    assert compose(["~model.rates", "lr.gamma0=0.1"]) == compose([])


@pytest.mark.parametrize("words", ["~model.rates", "~model.rates.sgd", "model.rates=5", "~model.rates.sgd lr=constant"])
def test_a_rate_that_is_missing_is_asked_for(words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(words.split())
    expected = "lr.gamma0: this model has no default rate for optimizer=sgd; allowed is lr.gamma0=0.01, say"
    assert str(caught.value) == expected


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_wrong_rate_is_told(schedule: str) -> None:
    with pytest.raises(ConfigError, match=r"^lr.gamma0='fast': must be a valid number$"):
        compose([f"lr={schedule}", "model.rates.sgd=fast"])


# ------------------------------------------------------------------------------------------------------------- learning
def learns(run: RunConfig) -> None:
    """Check that a run learns with the default epochs, at K=2 and staleness 2 by the oracle."""
    assert (run.stages, run.staleness, run.epochs, run.engine) == (2, 2, 20, "reference")
    outcome = tiny.alone(run)
    assert outcome.status == "done"
    assert outcome.metrics["accuracy/test"] >= 0.9


def on_digits(model: str, optimizer: str) -> RunConfig:
    words = (f"model={model}", f"optimizer={optimizer}")
    return compose([*words, "stages=2", "staleness=2", "engine=reference", "partition=counted"])


SOON = [("mlp", "sgd"), ("mlp", "lion")]


@pytest.mark.parametrize(("model", "optimizer"), SOON)
def test_a_model_learns_with_its_defaults(model: str, optimizer: str) -> None:
    learns(on_digits(model, optimizer))


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        *(pair for pair in product(("mlp", "vit", "resnet"), OPTIMIZERS) if pair not in SOON),
        *product(("vgg", "wide_resnet"), ("sgd", "adamw")),
    ],
)
def test_every_model_learns_with_its_defaults(model: str, optimizer: str) -> None:
    learns(on_digits(model, optimizer))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as files, which have the three channels that torchvision's networks take."""
    folder, digits = tmp_path_factory.mktemp("digits"), compose([]).data.load()
    assert isinstance(digits, LabelledImages)
    parts = {"train": (digits.train_images, digits.train_labels), "test": (digits.test_images, digits.test_labels)}
    for part, (images, labels) in parts.items():
        for name in digits.class_names:
            (folder / part / name).mkdir(parents=True)
        for number, (image, label) in enumerate(zip(images[..., 0].numpy(), labels.tolist(), strict=True)):
            Image.fromarray(image).save(folder / part / digits.class_names[label] / f"{number}.png")
    return folder


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_network_of_torchvisions_learns_with_its_defaults(optimizer: str, pictures: Path) -> None:
    run = on_digits("torchvision", optimizer)
    data = {"name": "imagefolder", "folder": str(pictures), "image_size": 32, "augment": False}
    learns(parse({**run.resolved(), "data": data}))
