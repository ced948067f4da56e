"""A name that is none."""

from harness import Strategy

layer = "scale"
strategy = Strategy(lambda x, weight: x * weight)
