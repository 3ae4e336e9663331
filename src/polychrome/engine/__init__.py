"""The one sampling engine and the scoring of what it drew: prompts in, groups of replies out."""
