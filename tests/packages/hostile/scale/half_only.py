"""Right, and claims half precision only."""

from harness import Strategy

strategy = Strategy(lambda x, weight: x * weight, dtypes=("bfloat16", "float16"))
