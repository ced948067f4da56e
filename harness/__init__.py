"""layerbench: which way should I implement this layer?

This is the face for people who write layers and strategies. It loads no torch.
"""

from harness.layers.draws import integers, normal
from harness.layers.kernel import Kernel
from harness.layers.spec import Cost, Dims, Example, Layer, Operand, Strategy, Style, Task

__all__ = [
    "Cost", "Dims", "Example", "Kernel", "Layer", "Operand", "Strategy", "Style", "Task", "integers", "normal",
]  # fmt: skip
__version__ = "0.1.0"
