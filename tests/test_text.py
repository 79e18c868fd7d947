"""Data of tokens: splits without a gap, windows keyed by seed, step and replica, and numbers that follow from them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine.numerics import Numerics
from bench.keys import ConfigError
from bench.task.data.markov import Markov
from bench.task.data.text import Text
from bench.task.language import TOKENS
from bench.task.markov_source import MarkovSource
from bench.task.token_stream import TokenStream, stream_of
from bench.task.vocabulary import Characters
from tests import tiny

PLAY = "To be, or not to be, that is the question: Whether 'tis nobler in the mind to suffer\n" * 12
LANGUAGE = {"name": "markov", "order": 2, "symbols": 5, "language": 0, "length": 900, "test": 0.1, "validation": 0.1}
GPT = {
    "name": "gpt",
    "layers": 1,
    "width": 8,
    "heads": 2,
    "context": 6,
    "mlp_ratio": 2,
    "norm": "layer",
    "positions": "rotary",
    "tied": False,
    "dropout": 0.0,
}


def numbered(tokens: int, test: int = 20, context: int = 4, validation: float = 0.0) -> TokenStream:
    """A text in which every token says where it is."""
    vocabulary = Characters("".join(map(chr, range(300, 300 + tokens + test))))
    stream = stream_of(torch.arange(tokens).int(), torch.arange(tokens, tokens + test).int(), vocabulary)
    return stream.hold_out(validation).in_windows(context)


# --------------------------------------------------------------------------------------------------------------- splits
@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_a_text_is_split_without_a_gap(kind: str, tmp_path: Path) -> None:
    """Train, validation and test, one behind the other, are the text again."""
    file = tmp_path / "play.txt"
    file.write_text(PLAY)
    data = Text(str(file), kind, 300, 0.2, validation=0.25)  # type: ignore[arg-type]
    found = data.load(data.prepare())
    assert isinstance(found, TokenStream)
    parts = [found.vocabulary.decode(part.numpy()) for part in (found.train, found.validation, found.test)]
    assert "".join(parts) == PLAY
    assert len(parts[2]) == round(0.2 * len(PLAY))
    assert found.sizes["validation"] == round(0.25 * (found.sizes["train"] + found.sizes["validation"]))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    image, empty = tmp_path / "image.png", tmp_path / "empty.txt"
    image.write_bytes(b"\x89PNG\r\n")
    empty.touch()
    messages = {
        image: "is no text in UTF-8 (invalid start byte at byte 0); allowed is one",
        empty: "is empty; allowed is a text",
        tmp_path / "missing.txt": "cannot be read (No such file or directory)",
        tmp_path: "cannot be read (Is a directory)",
    }
    for file, message in messages.items():
        with pytest.raises(ConfigError) as error:
            Text(str(file), "characters", 300, 0.1).prepare()
        assert str(error.value) == f"data.file={str(file)!r}: {message}"


def test_a_byte_pair_vocabulary_that_the_text_does_not_yield_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "play.txt"
    file.write_text(PLAY)
    with pytest.raises(ConfigError, match=r"^data\.size=5000: the text yields \d+ tokens; allowed are 256 to \d+$"):
        Text(str(file), "bpe", 5000, 0.1).prepare()


def test_a_split_that_fills_no_window_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        numbered(100, test=6, context=6)
    assert str(error.value) == "model.context=6: may be at most 5, as there are 6 tokens to test by"
    with pytest.raises(ConfigError, match=r"^batch_size=9: may be at most 8; the data has 24 training windows for "):
        tiny.batches_of(numbered(100), seed=0, batch_size=9, replicas=3)


def test_a_kept_text_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "play.txt"
    file.write_text(PLAY)
    data = Text(str(file), "characters", 300, 0.1)
    path = data.prepare()
    whole = data.load(path)
    content = torch.load(path, weights_only=True)
    content["train"] = content["train"].flip(0)
    torch.save(content, path)
    with pytest.raises(ConfigError, match=r"is damaged \(its digest is that of another text\)"):
        data.load(path)
    assert data.load(data.prepare()).digest == whole.digest


# -------------------------------------------------------------------------------------------------------------- windows
@settings(deadline=None)
@given(st.integers(70, 120), st.integers(1, 7), st.integers(1, 3), st.integers(1, 2), st.integers(0, 5))
def test_a_window_is_a_piece_of_the_text_and_its_targets_the_next_tokens(
    tokens: int, context: int, batch_size: int, replicas: int, seed: int
) -> None:
    stream = numbered(tokens, context=context, validation=0.25)
    for replica in range(replicas):
        batches = tiny.batches_of(stream, seed=seed, batch_size=batch_size, replica=replica, replicas=replicas)
        assert batches.batches == (len(stream.train) - 1) // context // (batch_size * replicas)
        inputs, targets = batches.inputs(1, 0), batches.targets(1, 0)
        assert inputs.shape == targets.shape == (batch_size, context)
        assert torch.equal(inputs + 1, targets)
        assert torch.equal(inputs, inputs[:, :1] + torch.arange(context))
        assert 0 <= int(inputs.min()) <= int(targets.max()) < len(stream.train)


def test_windows_follow_from_seed_step_and_replica_alone() -> None:
    stream = numbered(500)

    def drawn(seed: int, epoch: int, index: int, replica: int, batch_size: int = 4) -> tuple[int, ...]:
        batches = tiny.batches_of(stream, seed=seed, batch_size=batch_size, replica=replica, replicas=2)
        return tuple(batches.inputs(epoch, index)[:, 0].tolist())

    per_epoch = tiny.batches_of(stream, seed=0, batch_size=4, replicas=2).batches
    places = list(itertools.product((0, 1), (0, 1), range(4), (0, 1)))
    assert len({drawn(*place) for place in places}) == len(places)
    assert all(drawn(*place) == drawn(*place) for place in places)
    assert drawn(3, 1, 0, 0) == drawn(3, 0, per_epoch, 0), "an epoch's first batch is the next step's"


def test_every_place_is_drawn_as_often() -> None:
    """The first and the last too: of 40 places over 8,000 windows, 200 each, with a deviation of 14."""
    stream = numbered(44)
    batches = tiny.batches_of(stream, seed=0, batch_size=10)
    counts = torch.bincount(torch.cat([batches.inputs(0, index)[:, 0] for index in range(800)]))
    assert len(counts) == 40
    assert 140 < int(counts.min()) <= int(counts.max()) < 260


@given(st.integers(6, 60), st.integers(1, 5), st.integers(1, 6))
def test_each_judged_window_counts_once(tokens: int, context: int, batch_size: int) -> None:
    stream = numbered(200, test=tokens, context=context)
    judged = tiny.batches_of(stream, seed=0, batch_size=batch_size).judged["test"]
    kept = [judged.inputs(index)[: judged.valid(index)] for index in range(judged.batches)]
    told = torch.cat(kept).flatten().tolist()
    assert told == list(range(200, 200 + (tokens - 1) // context * context))
    assert {len(judged.inputs(index)) for index in range(judged.batches)} == {batch_size}
    last = judged.batches - 1
    assert torch.equal(judged.inputs(last) + 1, judged.targets(last))


# -------------------------------------------------------------------------------------------------------------- numbers
def test_the_loss_is_the_mean_over_all_tokens() -> None:
    logits = torch.randn(3, 5, 7, dtype=torch.float64)
    targets = torch.randint(7, (3, 5))
    by_hand = [-logits[row, place].log_softmax(0)[targets[row, place]] for row in range(3) for place in range(5)]
    assert float(TOKENS.loss(logits, targets)) == pytest.approx(float(sum(by_hand)) / 15, rel=1e-12)
    assert TOKENS.score(logits, targets) == {"loss": pytest.approx(float(sum(by_hand)), rel=1e-12), "units": 15}


def test_bits_per_character_count_characters_and_not_tokens(tmp_path: Path) -> None:
    """An umlaut has two bytes. With a nat a byte, the 180 bytes tested by cost 180 nats, for 120 characters."""
    file = tmp_path / "text.txt"
    file.write_text("ä" * 60 + "ääb ääb ääb " * 10)
    data = Text(str(file), "bytes", 300, 120 / 180, validation=0.0)
    stream = data.load(data.prepare())
    found = stream.judged("test", {"loss": 200.0, "units": 200.0})
    assert found["loss"] == 1
    assert found["perplexity"] == pytest.approx(math.e)
    assert found["bits_per_character"] == pytest.approx(180 / 120 / math.log(2))
    assert "excess" not in found


def test_a_network_that_knows_nothing_has_the_logarithm_of_the_vocabulary() -> None:
    run = tiny.config(model=GPT, data=LANGUAGE)
    stream = tiny.dataset_of(run)
    batches, numerics = tiny.batches_of(stream, seed=0, batch_size=4), Numerics.of(run, torch.device("cpu"))
    scores = torch.zeros(4, 6, 5)
    total = sum((numerics.score(scores, batches.judged["test"], i).sums["loss"] for i in range(2)), 0.0)
    assert total == pytest.approx(2 * 24 * math.log(5))


# ----------------------------------------------------------------------------------------------------- a known language
def test_the_text_of_a_language_costs_its_entropy_rate_by_the_true_chain() -> None:
    """Over 200,000 symbols, within four standard errors (of batch means of 2,000)."""
    data = Markov(2, 30, 3, 220_000, 0.5)
    stream = data.load(data.prepare())
    assert isinstance(stream, TokenStream)
    source = MarkovSource.drawn(3, 2, 30)
    assert stream.floor == source.entropy_rate
    for part in (stream.to_train, stream.test):
        costs = torch.from_numpy(-source.log_probabilities(part.numpy().astype("uint8")))
        means = costs[: len(costs) // 2000 * 2000].view(-1, 2000).mean(1)
        error = float(means.std() / len(means) ** 0.5)
        assert abs(float(costs.mean()) - source.entropy_rate) < 4 * error < 0.02


def test_a_language_is_the_same_whatever_the_run_and_another_by_its_own_seed() -> None:
    digests = {Markov(2, 5, language, 900, 0.1).read().digest for language in (0, 1, 0)}
    assert len(digests) == 2


def test_a_trained_network_is_told_by_its_distance_and_not_below_the_floor() -> None:
    """Not by more than the sampling error: four standard errors of the mean over the test's tokens."""
    language = {**LANGUAGE, "symbols": 4, "length": 20_000}
    model = {**GPT, "width": 16, "context": 16}
    adamw = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.01, "decayed": "all"}
    lr = {**tiny.VALUES["lr"], "gamma0": 0.01, "warmup_steps": 10}
    changes = {"model": model, "data": language, "optimizer": adamw, "lr": lr, "batch_size": 16, "precision": "float32"}
    found = tiny.alone(tiny.config(epochs=6, **changes))
    floor = tiny.dataset_of(tiny.config(**changes)).judgement.floor
    assert floor is not None
    assert found.metrics["excess/test"] == pytest.approx(found.metrics["loss/test"] - floor)
    assert found.metrics["excess/test"] < 0.1, "it learns"
    source = MarkovSource.drawn(0, 2, 4)
    stream = tiny.dataset_of(tiny.config(**changes))
    assert isinstance(stream, TokenStream)
    costs = torch.from_numpy(-source.log_probabilities(stream.test.numpy().astype("uint8")))
    error = float(costs.view(-1)[: len(costs) // 50 * 50].view(-1, 50).mean(1).std() / (len(costs) // 50) ** 0.5)
    assert found.metrics["excess/test"] > -4 * error
    for number in ("perplexity", "bits_per_character", "excess", "loss"):
        assert {f"{number}/test", f"{number}/validation"} <= found.metrics.keys()
