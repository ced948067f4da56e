"""Passes: what a call of each is, which are timed today, and which earlier records hold besides."""

from __future__ import annotations

MODES = {
    "forward": "the forward, recording what a backward needs",
    "inference": "the forward without that",
    "backward": "gradients of all inputs and parameters for a given cotangent, on a fresh graph",
    "forward_backward": "forward and backward",
    "step": "forward, gradients of all inputs and parameters for a given cotangent, one plain update of the parameters",
    "per_sample": "the parameters' gradients for each sample of a batch by itself, stacked",
    "ensemble": "the parameters' gradients for each of several models on the same inputs, stacked",
}
"""What a call of each pass is; a run's header holds these words. Another definition is another pass: give it a name of
its own, and the earlier one to older.py."""
PASSES = tuple(MODES)
"""Passes that can be timed."""
OLDER_MODES = {
    "step_with_loss": "forward, the task's loss, gradients of the parameters, one plain update of the parameters",
}
"""Passes that earlier versions timed: they are read and shown, and can be asked for no more."""
KNOWN_PASSES = (
    "forward", "inference", "backward", "forward_backward", "step", "step_with_loss", "per_sample", "ensemble",
)  # fmt: skip
"""All that records may hold, in their order."""
STEPS = ("step", "step_with_loss")
LOOPED = ("per_sample", "ensemble")
"""Passes that some strategies go through in a loop: dear, so they are timed at a small size."""


def pass_words(passed: str) -> str:
    """A pass for people: ``forward + backward``."""
    return passed.replace("forward_backward", "forward + backward").replace("_", " ")
