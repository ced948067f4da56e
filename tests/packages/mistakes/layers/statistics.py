"""A module that keeps statistics, in training mode."""

from torch import nn

from harness import Layer, Strategy

layer = Layer.of_module(
    nn.BatchNorm1d, {"input": ("N", "NUM_FEATURES")}, output=("N", "NUM_FEATURES"), check=({"N": 7, "NUM_FEATURES": 5},)
)
strategies = {"autograd": Strategy(nn.BatchNorm1d)}
