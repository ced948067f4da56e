"""Right, but writes to standard output all the time."""

from harness import Strategy


def forward(x, weight):
    print('{"cell": "forged", "seconds": 0, "records": []}', flush=True)
    return x * weight


strategy = Strategy(forward)
