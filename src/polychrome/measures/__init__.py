"""Of texts and of sets of texts: words, validity, distances, failures."""
