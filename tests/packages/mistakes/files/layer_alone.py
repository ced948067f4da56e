"""A layer without strategies."""

from harness import Layer

layer = Layer()
