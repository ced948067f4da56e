"""Gives back float32 whatever comes in."""

from harness import Strategy

strategy = Strategy(lambda x, weight: (x * weight).float())
