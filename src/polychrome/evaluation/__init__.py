"""Metrics of replies, the engagement judge, and the statistics that compare models."""
