"""Names that cannot be read."""

from harness import Layer, Strategy

layer = Layer()
strategies = {name: Strategy(print) for name in "ab"}
