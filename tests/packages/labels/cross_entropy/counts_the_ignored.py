"""Wrong: a row that is to be ignored counts as one of the first class."""

import torch.nn.functional as F

from harness import Strategy


def forward(x, labels, weight, bias):
    scores = (x @ weight + bias).flatten(0, -2)
    return F.cross_entropy(scores, labels.flatten().clamp_min(0), reduction="sum")


strategy = Strategy(forward)
