"""Says of no layer that it is for it."""

from harness import Strategy

strategy = Strategy(lambda x, weight: x * weight)
