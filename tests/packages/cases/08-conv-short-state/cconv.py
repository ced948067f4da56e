"""Causal depthwise convolution that goes on from a state: y[t] = sum_j w[j] e[t + j], e = state then x."""

import torch

from harness import Layer, Operand, Strategy


def forward(x, state, weight):
    T, W = x.shape[-2], weight.shape[0]
    e = torch.cat((state, x), -2)
    return sum(weight[j] * e[..., j : j + T, :] for j in range(W))


def before(dims):
    return (dims["B"], dims["W"] - 1, dims["D"])


layer = Layer(
    title="causal convolution",
    formula="sum_j w[j] e[t+j]",
    inputs={"x": Operand(("B", "T", "D")), "state": Operand(before)},
    parameters={"weight": Operand(("W", "D"))},
    output=("B", "T", "D"),
    check=({"B": 3, "T": 9, "D": 5, "W": 4}, {"B": 1, "T": 1, "D": 1, "W": 1}, {"B": 5, "T": 33, "D": 3, "W": 3}),
    leading="B",
    causal="T",
)
strategies = {"autograd": Strategy(forward)}
