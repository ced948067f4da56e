"""Right, from a package that wraps a function of torch when it is imported, as some do to count or to trace calls."""

import functools

import torch

from harness import Strategy

_plain = torch.index_select


@functools.wraps(_plain)
def _wrapped(*args, **kwargs):
    return _plain(*args, **kwargs)


torch.index_select = _wrapped

strategy = Strategy(lambda x, weight: torch.sin(x) * weight)
