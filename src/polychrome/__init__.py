"""polychrome: train language models whose set of replies is both good and varied, and measure which training wins."""
