"""What an arm trains on at each step, a file a method; each plugs into the one loop.

A new objective is a file beside these and a line here. Reading params.yaml imports all of them for their settings, so
they import torch, and what imports it, where it is used.
"""

from __future__ import annotations

from polychrome.training.methods.cross_entropy import CrossEntropy
from polychrome.training.methods.grpo import Grpo
from polychrome.training.methods.interface import Method
from polychrome.training.methods.polychromic import Polychromic

METHODS: dict[str, type[Method]] = {  # what an arm calls its `objective`
    "cross_entropy": CrossEntropy,
    "polychromic": Polychromic,
    "grpo": Grpo,
}
