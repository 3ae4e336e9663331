"""Compiled code for what PyTorch's operators leave standing on a CPU: decoding, and passes over many activations."""
