"""How other people's files are read."""
