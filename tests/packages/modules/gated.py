"""A gated map as a module: nested parameters, a table that is no parameter, a size that is no dim, heads."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from harness import Layer, Strategy


class Gated(nn.Module):
    def __init__(self, D: int, heads: int, floor: float = 0.0) -> None:
        super().__init__()
        if D % heads:
            raise AssertionError("heads must divide D")
        self.norm = nn.LayerNorm(D)
        self.up = nn.Linear(D, 2 * D)
        self.down = nn.Linear(D, D, bias=False)
        self.register_buffer("table", torch.linspace(1, 2, D), persistent=False)
        self.floor = floor

    def forward(self, x):
        value, gate = self.up(self.norm(x) * self.table).chunk(2, -1)
        return self.down(torch.tanh(value) * torch.sigmoid(gate)) + self.floor


def plain(x, table, norm_weight, norm_bias, up_weight, up_bias, down_weight):
    z = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias) * table
    value, gate = F.linear(z, up_weight, up_bias).chunk(2, -1)
    return (torch.tanh(value) * torch.sigmoid(gate)) @ down_weight.mT


def forgets_the_norm_s_bias(x, table, norm_weight, norm_bias, up_weight, up_bias, down_weight):
    return plain(x, table, norm_weight, 0 * norm_bias, up_weight, up_bias, down_weight)


def forgets_the_table(x, table, norm_weight, norm_bias, up_weight, up_bias, down_weight):
    return plain(x, torch.ones_like(table), norm_weight, norm_bias, up_weight, up_bias, down_weight)


layer = Layer.of_module(
    Gated,
    inputs={"x": ("N", "D")},
    output=("N", "D"),
    check=({"N": 7, "D": 12, "HEADS": 3}, {"N": 1, "D": 1, "HEADS": 1}),
    leading="N",
)
strategies = {
    "autograd": Strategy(Gated),
    "partial": Strategy(functools.partial(Gated, floor=0.0)),
    "plain": Strategy(plain),
    "pure": Strategy(Gated, gradients="func"),
    "forgets_the_norm_s_bias": Strategy(forgets_the_norm_s_bias),
    "forgets_the_table": Strategy(forgets_the_table),
}
