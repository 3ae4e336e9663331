"""Was the reward gamed, would the ruler lie."""
