"""Cuts the weight off the tape."""

from harness import Strategy

strategy = Strategy(lambda x, weight: x * weight.detach())
