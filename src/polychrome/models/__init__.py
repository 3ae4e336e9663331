"""Base models, adapters and the sentence encoder: where they come from, how they are opened and saved."""
