"""layerbench: which way should I implement this layer?

This is the face for people who write layers and strategies. It loads no torch.
"""

from harness.layers.draws import integers, normal
from harness.layers.kernel import Kernel, Tuning
from harness.layers.launches import launch_table, target_of
from harness.layers.spec import Cost, Dims, Layer, Operand, Strategy
from harness.layers.style import Style
from harness.layers.task import Example, Task

__all__ = [
    "Cost", "Dims", "Example", "Kernel", "Layer", "Operand", "Strategy", "Style", "Task", "Tuning", "integers",
    "launch_table", "normal", "target_of",
]  # fmt: skip
__version__ = "0.1.0"
