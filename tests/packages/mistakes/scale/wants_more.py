"""Wants a bias that the layer has not."""

from harness import Strategy


def forward(x, weight, bias):
    return x * weight + bias


strategy = Strategy(forward)
