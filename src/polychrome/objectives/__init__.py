"""Objectives: pure functions of tensors. No model, no file, no clock."""
