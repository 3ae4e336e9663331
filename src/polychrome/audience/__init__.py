"""A world in which the answer is known: kinds of replies, a grammar that tells them apart, readers with a taste."""
