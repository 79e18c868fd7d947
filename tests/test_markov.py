"""The synthetic language: by hand, against dense matrices, and in long texts."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.task import markov_source as markov
from bench.task.markov_source import MarkovSource

LONG = 300_000


def entropy(share: float) -> float:
    """Nats of a coin."""
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


def coin(there: float, back: float) -> MarkovSource:
    """Two symbols: from 0 to 1 with one probability, and from 1 to 0 with another."""
    return MarkovSource(1, np.array([[1 - there, there], [back, 1 - back]]))


def standard_error(values: NDArray[np.float64], batches: int = 100) -> float:
    """Standard error of the mean of what hangs together over far less than a batch: by the means of batches."""
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(1)
    return float(means.std(ddof=1)) / math.sqrt(batches)


# -------------------------------------------------------------------------------------------------------------- by hand
@pytest.mark.parametrize(("there", "back"), [(0.5, 0.5), (0.1, 0.3), (0.01, 0.9)])
def test_two_symbols_by_hand(there: float, back: float) -> None:
    """Each state, in the share of time that the chain is in it, leaves the entropy of a coin."""
    source = coin(there, back)
    assert source.stationary() == pytest.approx(np.array([back, there]) / (there + back), abs=1e-13)
    expected = (back * entropy(there) + there * entropy(back)) / (there + back)
    assert source.entropy_rate == pytest.approx(expected, rel=1e-12)
    assert source.conditional_entropy(0) == pytest.approx(entropy(there / (there + back)), rel=1e-12)


def test_log_probabilities_by_hand() -> None:
    """A context's latest symbol is its last digit; a symbol that never follows has -inf."""
    found = coin(0.1, 0.3).log_probabilities(np.array([0, 0, 1, 1, 0], np.uint8))
    assert found == pytest.approx(np.log([0.9, 0.1, 0.7, 0.3]))
    after_01_comes_0 = MarkovSource(2, np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75], [0.5, 0.5]]))
    found = after_01_comes_0.log_probabilities(np.array([0, 1, 0, 1, 1], np.uint8))
    assert found.tolist() == [0, math.log(0.75), -math.inf]


def test_what_never_follows_is_never_drawn() -> None:
    """Each row's sums end at 1 whatever is rounded: here 0 and 4 never come, first and last in the row."""
    source = MarkovSource(1, np.tile([0, 0.1, 0.7, 0.2, 0], (5, 1)))
    assert np.bincount(source.text(10_000, 0), minlength=5) == pytest.approx([0, 1000, 7000, 2000, 0], abs=200)
    assert source.entropy_rate == pytest.approx(-0.1 * math.log(0.1) - 0.7 * math.log(0.7) - 0.2 * math.log(0.2))


def test_a_text_begins_in_the_stationary_distribution() -> None:
    """A chain that would forget its beginning after a hundred symbols: 4 standard errors of 2000 first ones."""
    source = coin(0.003, 0.009)
    first = [int(source.text(1, seed)[0]) for seed in range(2000)]
    assert sum(first) / 2000 == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 2000))


# ----------------------------------------------------------------------------------------------------- of a drawn chain
@pytest.mark.parametrize(("order", "symbols", "classes"), [(1, 30, 3), (2, 30, 3), (3, 30, 2), (3, 30, 3), (3, 2, 2)])
def test_a_drawn_chain_is_what_it_says(order: int, symbols: int, classes: int) -> None:
    """Its rows are probabilities, and all possible; as many differ as there are last symbols and classes before."""
    source = MarkovSource.drawn(1, order, symbols, classes=classes)
    rows = source.transitions
    assert rows.shape == (symbols**order, symbols)
    assert rows.sum(1) == pytest.approx(np.ones(symbols**order), abs=1e-12)
    assert rows.min() >= markov.UNIFORM / symbols
    assert len(np.unique(rows, axis=0)) == symbols * classes ** (order - 1)
    assert len(np.unique(rows.reshape(-1, symbols, symbols)[:, 0], axis=0)) == classes ** (order - 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("order", "symbols"), [(1, 2), (1, 3), (2, 2), (2, 3), (3, 2), (3, 3)])
def test_the_stationary_distribution_is_the_dense_matrixs(seed: int, order: int, symbols: int) -> None:
    source = MarkovSource.drawn(seed, order, symbols, classes=2)
    contexts = symbols**order
    dense = np.zeros((contexts, contexts))
    for context in range(contexts):
        for symbol in range(symbols):
            dense[context, (context * symbols + symbol) % contexts] += source.transitions[context, symbol]
    values, vectors = np.linalg.eig(dense.T)
    assert sum(abs(values) > 1 - 1e-9) == 1
    found = source.stationary()
    vector = vectors[:, np.argmax(values.real)].real
    assert found == pytest.approx(vector / vector.sum(), abs=1e-10)
    assert found @ dense == pytest.approx(found, abs=1e-14)


@pytest.mark.parametrize("order", [2, 3])
def test_only_the_full_order_reaches_the_entropy_rate(order: int) -> None:
    """A symbol less leaves a tenth of a nat or more; what is left of less is counted from the stationary distribution
    of pairs and triples, here for all but the first symbol of the context."""
    source = MarkovSource.drawn(0, order, 30)
    left = [source.conditional_entropy(known) for known in range(order + 1)]
    joint = (source.stationary()[:, None] * source.transitions).reshape((30,) * (order + 1)).sum(0)
    shorter = -(joint * np.log(joint / joint.sum(-1, keepdims=True))).sum()
    assert left[order - 1] == pytest.approx(shorter, rel=1e-12)
    assert left[order] == source.entropy_rate
    assert min(-np.diff(left)) > 0.1
    assert source.entropy_rate < math.log(30) - 1


# --------------------------------------------------------------------------------------------------------- of its texts
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_long_texts_loss_is_the_entropy_rate(order: int) -> None:
    source = MarkovSource.drawn(3, order, 30)
    losses = -source.log_probabilities(source.text(LONG, 0))
    assert len(losses) == LONG - order
    assert losses.mean() == pytest.approx(source.entropy_rate, abs=4 * standard_error(losses))


def test_what_a_text_counts_is_the_entropy_rate() -> None:
    """The entropy of the shares that a text counts, which knows nothing of the chain. They fit the text better than the
    chain itself does: twice the sum of the differences is chi-square, a degree of freedom for each share that is free
    (Wilks 1938). Its mean is as many and its deviation the root of twice as many."""
    source = MarkovSource.drawn(0, 2, 5)
    text = source.text(LONG, 0).astype(int)
    counts = np.zeros((5, 5, 5))
    np.add.at(counts, (text[:-2], text[1:-1], text[2:]), 1)
    seen = counts > 0
    shares = (counts / counts.sum(-1, keepdims=True))[seen]
    plugged_in = -(counts[seen] * np.log(shares)).sum() / counts.sum()
    losses = -source.log_probabilities(text)
    free = 25 * 4
    better = 2 * (losses.sum() - plugged_in * len(losses))
    assert better == pytest.approx(free, abs=5 * math.sqrt(2 * free))
    bias = (free + 5 * math.sqrt(2 * free)) / (2 * len(losses))
    assert plugged_in == pytest.approx(source.entropy_rate, abs=4 * standard_error(losses) + bias)


def test_a_seed_makes_a_text() -> None:
    """The chain's seed and the text's own, which do not stand for each other; a longer text begins as a shorter one."""

    def text(seed: int, own: int, length: int = 200) -> list[int]:
        return [int(symbol) for symbol in MarkovSource.drawn(seed, 2, 30).text(length, own)]

    assert text(0, 1) == text(0, 1)
    assert len({tuple(text(seed, own)) for seed in range(3) for own in range(3)}) == 9
    assert text(0, 1, 300)[:200] == text(0, 1)
    assert text(0, 1, 0) == []
    assert {*MarkovSource.drawn(0, 2, 2).text(200, 0).tolist()} == {0, 1}
    rows = coin(0.1, 0.3).transitions
    assert MarkovSource(1, rows, 0).text(200, 0).tolist() != MarkovSource(1, rows, 1).text(200, 0).tolist()


# ------------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": -1}, "seed=-1: allowed are 0 or more"),
        ({"order": 4}, "order=4: allowed are 1 to 3"),
        ({"symbols": 65}, "symbols=65: allowed are 2 to 64"),
        ({"classes": 65}, "classes=65: allowed are 1 to 64"),
        ({"concentration": 0.0}, "concentration=0.0: allowed are 0.001 to 1000"),
        ({"concentration": math.nan}, "concentration=nan: allowed are 0.001 to 1000"),
    ],
)
def test_arguments_out_of_bounds(changed: dict[str, float], message: str) -> None:
    arguments: dict[str, float] = {"seed": 0, "order": 2, "symbols": 30} | changed
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        MarkovSource.drawn(**arguments)  # type: ignore[arg-type]


def test_rows_and_texts_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^transitions of shape \(4, 2\): allowed are \[symbols \*\* 1, symbols\]$"):
        MarkovSource(1, np.full((4, 2), 0.5))
    for rows in ([[0.5, 0.6], [0.5, 0.5]], [[1.5, -0.5], [0.5, 0.5]]):
        with pytest.raises(ValueError, match=r"^transitions: every row must be probabilities"):
            MarkovSource(1, np.array(rows))
    source = coin(0.1, 0.3)
    with pytest.raises(ValueError, match=r"^length=1: allowed are 2 or more$"):
        source.log_probabilities(np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match=r"^symbol=2: allowed are 0 to 1$"):
        source.log_probabilities(np.array([0, 2], np.uint8))
    with pytest.raises(ValueError, match=r"^length=-1: allowed are 0 or more$"):
        source.text(-1, 0)
    with pytest.raises(ValueError, match=r"^known=2: allowed are 0 to 1$"):
        source.conditional_entropy(2)
    monkeypatch.setattr(markov, "ROUNDS", 100)
    periodic = MarkovSource(1, np.array([[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]]))
    with pytest.raises(
        ValueError, match=r"^transitions: not stationary after 100 steps; allowed are aperiodic chains$"
    ):
        periodic.stationary()
