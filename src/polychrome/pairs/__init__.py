"""A (post, reply, engagement) pair: its schema, where pairs come from, cleaning, and the phase split."""
