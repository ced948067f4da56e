"""A module with dropout, in training mode."""

import torch
from torch import nn

from harness import Layer, Strategy


class Dropped(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.linear = nn.Linear(D, D)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(torch.relu(self.linear(x)))


layer = Layer.of_module(Dropped, {"x": ("N", "D")}, output=("N", "D"), check=({"N": 7, "D": 5},))
strategies = {"autograd": Strategy(Dropped)}
