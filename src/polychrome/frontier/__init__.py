"""Does training beat what costs nothing? Every model sampled hotter and hotter, and the arms against decoding alone."""
