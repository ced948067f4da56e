"""The record of a kernel that was compiled ahead of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Compiled:
    """A kernel compiled ahead of time for a target, and what it takes there (see verify/kernels.py).

    Attributes:
        signature: its name; in a ``missing`` one the dtype that is claimed without a signature.
        result: ``over`` spills on NVIDIA or needs more shared memory than there is.
    """

    layer: str
    strategy: str
    kernel: str
    signature: str
    target: str
    result: Literal["ok", "over", "missing", "compile_error"]
    detail: str = ""
    options: dict[str, int] = field(default_factory=dict)
    registers: int | None = None
    shared: int | None = None
    shared_limit: int | None = None
    stack: int | None = None
    spills: int | None = None
    tensor_cores: dict[str, int] = field(default_factory=dict)
    float32_dots: tuple[str, ...] = ()
    tf32: int = 0
    triton: str = ""
