"""Right."""

from harness import Strategy

strategy = Strategy(lambda x, weight: x * weight)
