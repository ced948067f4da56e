"""Does not even import."""

from harness import Strategy

strategy = Strategy(forward=undefined_name)  # noqa: F821
