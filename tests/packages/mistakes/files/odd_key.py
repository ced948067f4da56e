"""A name that is none."""

from harness import Layer, Strategy

layer = Layer()
strategies = {
    "autograd": Strategy(print),
    "my way": Strategy(print),
}
