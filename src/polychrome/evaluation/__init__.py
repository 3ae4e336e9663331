"""Answers to the test posts, their scores, and the statistics that compare models."""
