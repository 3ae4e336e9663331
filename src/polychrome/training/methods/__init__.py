"""What an arm trains on at each step, a file a method; each plugs into the one loop.

A new objective is a file beside these and a line here. Reading params.yaml imports all of them for their settings, so
they import torch, and what imports it, where it is used.
"""

from __future__ import annotations

from pkgutil import resolve_name

from polychrome.training.methods.interface import Method

FILES = {  # what an arm calls its `objective` -> its method
    "cross_entropy": "polychrome.training.methods.cross_entropy:CrossEntropy",
    "polychromic": "polychrome.training.methods.polychromic:Polychromic",
    "grpo": "polychrome.training.methods.grpo:Grpo",
}
METHODS: dict[str, type[Method]] = {objective: resolve_name(name) for objective, name in FILES.items()}
