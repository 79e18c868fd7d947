"""A synthetic language: a Markov chain whose entropy rate, the least loss that a model can reach, is known exactly."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Text = NDArray[np.uint8]
"""Symbols, by number from 0, [length]."""

ORDERS = (1, 3)
"""The fewest and the most symbols of a context."""
SYMBOLS = (2, 64)
"""The fewest and the most symbols of a language: of order 3 with 64 of them, the rows fill 134 MB."""
CLASSES = 3
"""Classes of symbols: so few that 30 symbols have 270 rows of order 3, each met a thousand times in 300,000 symbols."""
CONCENTRATION = 0.1
"""Parameter of the Dirichlet distribution of a row: of 30 symbols, a few follow, with 1.6 nats between them."""
UNIFORM = 0.02
"""Part of every row that is spread evenly over the symbols."""
TOLERANCE = 1e-15
"""Sum of the changes of all contexts' probabilities at which they count as stationary."""
ROUNDING, PATIENCE = 1e-13, 100
"""Likewise for a chain that mixes slowly, whose rounding hides smaller changes: a sum below which it is ended, once it
has had no new least one for so many rounds."""
ROUNDS = 100_000
"""The most multiplications by the chain until then: a drawn one needs about a hundred."""
CHAIN, SAMPLE = range(2)
"""Keys of the draws made with a seed: of the chain itself, and of a text."""


@dataclass(frozen=True, eq=False)
class MarkovSource:
    """A chain in which the last few symbols, the context, set the probabilities of the next.

    A context is a number: its symbols are the digits in base ``symbols``, the latest being the last digit.

    Raises:
        ValueError: the rows are not probabilities, or are not one for each context.
    """

    order: int
    """Symbols of a context."""
    transitions: Array
    """Probability of each next symbol after each context, [symbols ** order, symbols]."""
    seed: int = 0
    """Seed that every text is drawn with, beside the text's own."""

    def __post_init__(self) -> None:
        shape = self.transitions.shape
        if len(shape) != 2 or shape[0] != shape[1] ** self.order:
            raise ValueError(f"transitions of shape {shape}: allowed are [symbols ** {self.order}, symbols]")
        if self.transitions.min() < 0 or abs(self.transitions.sum(1) - 1).max() > 1e-12:
            raise ValueError("transitions: every row must be probabilities, which are at least 0 and sum to 1")

    @classmethod
    def drawn(
        cls, seed: int, order: int, symbols: int, concentration: float = CONCENTRATION, classes: int = CLASSES
    ) -> MarkovSource:
        """A random chain, the same one for the same arguments.

        Every symbol is put into one of a few classes, all of one size or nearly; where there are more classes than
        symbols, the rest stay empty. The next symbol hangs on the last one, and of those before it on their classes
        alone: contexts that agree in these share one row. The rows are drawn from the symmetric Dirichlet distribution,
        independently, and mixed with a uniform one (:data:`UNIFORM`).

        Why so: a full table of order 3 has 27,000 rows of 30 symbols, more than a short text tells; by classes it is
        270. Rows that are drawn by themselves, with few likely symbols each, take the whole context: no sum of what
        each symbol of it says reaches the entropy rate. By the uniform part, every context follows every other in
        ``order`` steps, so that the chain is irreducible and aperiodic and has one stationary distribution.

        Raises:
            ValueError: an argument is out of its bounds.
        """
        _require("seed", seed, 0, math.inf)
        _require("order", order, *ORDERS)
        _require("symbols", symbols, *SYMBOLS)
        _require("concentration", concentration, 1e-3, 1e3)
        _require("classes", classes, 1, SYMBOLS[1])
        random = _random(seed, CHAIN)
        class_of = random.permutation(symbols) % classes
        *before, last = np.indices((symbols,) * order).reshape(order, -1)
        row = last
        for symbol in before:
            row = row * classes + class_of[symbol]
        rows = random.dirichlet(np.full(symbols, concentration), symbols * classes ** (order - 1))
        return cls(order, ((1 - UNIFORM) * rows + UNIFORM / symbols)[row], seed)

    @property
    def symbols(self) -> int:
        return int(self.transitions.shape[1])

    def stationary(self) -> Array:
        """The stationary probability of every context, [symbols ** order], by power iteration.

        A step from (a, b, ..., z) leads to (b, ..., z, x) alone: what arrives there is a sum over a, of one number
        each, so that the square matrix of the chain on contexts is never made.

        Raises:
            ValueError: there is no end to it, as the chain is periodic or nearly.
        """
        return self._stationary.copy()

    @cached_property
    def _stationary(self) -> Array:
        contexts = len(self.transitions)
        shape = (self.symbols, contexts // self.symbols)
        rows = self.transitions.reshape(*shape, self.symbols)
        now: Array = np.full(contexts, 1 / contexts)
        least, waited = math.inf, 0
        for _ in range(ROUNDS):
            after = np.einsum("ab,abx->bx", now.reshape(shape), rows).ravel()
            # Rounding would let the sum drift from 1.
            after /= after.sum()
            change, now = float(abs(after - now).sum()), after
            waited = 0 if change < least else waited + 1
            least = min(least, change)
            if change <= TOLERANCE or (change < ROUNDING and waited > PATIENCE):
                return now
        raise ValueError(f"transitions: not stationary after {ROUNDS} steps; allowed are aperiodic chains")

    @property
    def entropy_rate(self) -> float:
        """Nats per symbol that remain once the whole context is known.

        It is the stationary mean of the entropies of the rows (Cover and Thomas, Elements of Information Theory, second
        edition, theorem 4.2.4).
        """
        return self.conditional_entropy(self.order)

    def conditional_entropy(self, known: int) -> float:
        """Nats per symbol, exactly, that remain once the last ``known`` symbols are known: the loss of the best model
        that sees no more.

        Raises:
            ValueError: they are fewer than 0 or more than the order.
        """
        _require("known", known, 0, self.order)
        together = self._stationary[:, None] * self.transitions
        joint = together.reshape(-1, self.symbols**known, self.symbols).sum(0)
        possible = joint > 0
        given = np.broadcast_to(joint.sum(1, keepdims=True), joint.shape)
        return float((joint[possible] * np.log(given[possible] / joint[possible])).sum())

    def text(self, length: int, seed: int) -> Text:
        """A text that begins in the stationary distribution, the same one for the same source and seed.

        Raises:
            ValueError: the length or the seed is negative.
        """
        _require("length", length, 0, math.inf)
        _require("seed", seed, 0, math.inf)
        return np.fromiter(self._walked(length, _random(self.seed, SAMPLE, seed)), np.uint8, length)

    def log_probabilities(self, text: Text) -> Array:
        """The logarithm of the probability of each symbol that follows a whole context, [length - order], in nats;
        -inf for one that never follows it.

        Raises:
            ValueError: no symbol follows a whole context, or one is none of the language's.
        """
        _require("length", len(text), self.order + 1, math.inf)
        _require("symbol", int(text.max()), 0, self.symbols - 1)
        numbers = text.astype(np.int64)
        following = len(numbers) - self.order
        context = np.zeros(following, np.int64)
        for place in range(self.order):
            context = context * self.symbols + numbers[place : place + following]
        with np.errstate(divide="ignore"):
            return np.log(self.transitions[context, numbers[self.order :]])

    def _walked(self, length: int, random: np.random.Generator) -> Iterator[int]:
        """The symbols of a text, one by one, each where its row's sums reach a number drawn from [0, 1)."""
        contexts, symbols = self.transitions.shape
        context = int(random.choice(contexts, p=self._stationary))
        sums = self.transitions.cumsum(1)
        # A sum that rounding leaves below 1 would give a symbol that never follows.
        sums /= sums[:, -1:]
        # Bisection of one flat array is several times as fast as numpy's of a row, which is called a million times.
        flat = array("d", sums.tobytes())
        for draw in random.random(length).tolist():
            start = context * symbols
            symbol = bisect_right(flat, draw, start, start + symbols) - start
            context = (start + symbol) % contexts
            yield symbol


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        allowed = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
        raise ValueError(f"{name}={value}: allowed are {allowed}")


def _random(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
