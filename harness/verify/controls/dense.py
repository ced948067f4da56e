"""All controls on the dense layer."""

from __future__ import annotations

from harness.verify.controls import gradients, parameters, sizes, special_values, staleness, use
from harness.verify.controls.dense_layer import by_hand, layer, reference

__all__ = ["CONTROLS", "STRATEGIES", "layer", "reference"]

CONTROLS = {
    **parameters.CONTROLS,
    **gradients.CONTROLS,
    **use.CONTROLS,
    **sizes.CONTROLS,
    **special_values.CONTROLS,
    **staleness.CONTROLS,
}
STRATEGIES = {"sound": by_hand(), **{name: control.strategy for name, control in CONTROLS.items()}}
