"""Holds nothing that is wanted."""

x = 1
