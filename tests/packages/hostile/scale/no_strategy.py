"""Forgets to define the strategy."""
