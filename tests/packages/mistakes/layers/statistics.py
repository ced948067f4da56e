"""A module that keeps statistics, in training mode."""

from torch import nn

from harness import Layer, Strategy

layer = Layer.of_module(
    nn.BatchNorm1d, {"input": ("N", "num_features")}, output=("N", "num_features"), check=({"N": 7, "num_features": 5},)
)
strategies = {"autograd": Strategy(nn.BatchNorm1d)}
