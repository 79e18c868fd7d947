"""What ``optimizer`` may be."""

from __future__ import annotations

from bench.rule.optimizer.adamw import AdamW
from bench.rule.optimizer.sgd import SGD

Optimizer = SGD | AdamW
