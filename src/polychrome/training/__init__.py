"""The one training loop, and the methods that plug into it."""
