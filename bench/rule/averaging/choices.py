"""What ``averaging`` may be."""

from __future__ import annotations

from bench.rule.averaging.allreduce import AllReduce
from bench.rule.averaging.gossip import Gossip

Averaging = AllReduce | Gossip
