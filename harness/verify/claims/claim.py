"""What a claim is: a belief about custom layers, and the experiment that settles it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["true", "false", "it depends", "not_run", "error"]


@dataclass(frozen=True)
class Fact:
    """Something that an experiment saw: ``agrees`` with the belief or not; None is context, which decides nothing."""

    text: str
    agrees: bool | None = None


@dataclass(frozen=True)
class Claim:
    """A belief about how custom layers are trained.

    Attributes:
        name: short, for the command line.
        experiment: runs standing alone, draws no random numbers, leaves global state as it was. The first line of its
            docstring states the belief as people do.
        expected: what is documented: for each fact that decides, in order, whether it agrees with the belief.
        lesson: what to do instead, or why it is so.
        compiles: uses ``torch.compile``, which not every Python has.
    """

    name: str
    experiment: Callable[[], list[Fact]]
    expected: tuple[bool, ...]
    lesson: str
    compiles: bool = False

    @property
    def belief(self) -> str:
        """The belief in one sentence."""
        return (inspect.getdoc(self.experiment) or "").partition("\n")[0]

    @property
    def code(self) -> str:
        """The source of the experiment."""
        return inspect.getsource(self.experiment)


def verdict(answers: Sequence[bool]) -> Verdict:
    """``true`` if every fact that decides agrees with the belief, ``false`` if none does, else ``it depends``."""
    if all(answers):
        return "true"
    return "it depends" if any(answers) else "false"
