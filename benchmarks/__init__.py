"""Side-by-side speed against peers, one command each: ``python -m benchmarks.grpo_step`` and its neighbours."""
