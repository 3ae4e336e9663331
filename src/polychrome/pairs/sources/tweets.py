"""What source `replies` was called when it read tweets alone."""

from polychrome.pairs.sources.replies import read

__all__ = ["read"]
