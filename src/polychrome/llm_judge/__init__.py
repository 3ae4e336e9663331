"""An LLM asked which of two models' sets of replies it would rather offer: pairwise, in both orders, ties allowed."""
