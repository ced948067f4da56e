"""The variants of the controls on the dense layer: all are faults of the gate with a learned slope."""

from tests.verify.variants import gradients, parameters, resources, shapes, sizes, special_values, staleness, transforms
from tests.verify.variants.gate import Gate, by_hand, layer, reference

__all__ = ["CONTROLS", "MORE", "STRATEGIES", "layer", "reference"]

_PARTS = (parameters, gradients, shapes, transforms, resources, sizes, special_values, staleness)
CONTROLS = {name: control for part in _PARTS for name, control in part.CONTROLS.items()}
MORE = {name: control for part in _PARTS for name, control in part.MORE.items()}
STRATEGIES = {
    "sound": by_hand(Gate),
    **{name: control.strategy for name, control in CONTROLS.items()},
    **{name: control.strategy for name, control in MORE.items()},
}
