"""Imports what is not there."""

from torch import no_such_thing

from harness import Strategy

strategy = Strategy(no_such_thing)
