"""What an arm trains on at each step, a file a method; each plugs into the one loop.

A new objective is a file beside these and a line here. Reading params.yaml imports every file for its settings, so they
import torch, and what imports it, where it is used.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polychrome.training.methods.interface import Method

METHODS = {  # what an arm calls its `objective` -> its method
    "cross_entropy": "polychrome.training.methods.cross_entropy:CrossEntropy",
    "polychromic": "polychrome.training.methods.polychromic:Polychromic",
    "tempered": "polychrome.training.methods.tempered:Tempered",
    "grpo": "polychrome.training.methods.grpo:Grpo",
    "set_best": "polychrome.training.methods.sets:SetGrpo",
    "set_poly": "polychrome.training.methods.sets:SetGrpo",
    "darling": "polychrome.training.methods.darling:Darling",
    "mara": "polychrome.training.methods.mara:Mara",
    "unlikely": "polychrome.training.methods.unlikely:Unlikely",
    "maxrl": "polychrome.training.methods.maxrl:MaxRl",
}


def method_of(objective: str) -> type[Method]:
    """The method of an ``objective``, one of :data:`METHODS`."""
    return resolve_name(METHODS[objective])
