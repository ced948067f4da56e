"""Records of kernels: what they compile to ahead of time, and what their configurations took on a device."""

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


@dataclass(frozen=True)
class Candidate:
    """A launch configuration of a kernel that was tried on a device (see run/candidates.py).

    Attributes:
        target: the family of the device.
        row: target, dtypes and size (``up_to``) of the table's row that was taken so far, as they stand there.
        config: the configuration; ``current`` where it is the table's own.
        result: ``wrong`` where its answers are not right, ``failed`` where it does not compile or run.
        log_ratios: of its time over the current one's, round by round; empty where it was not timed.
        seconds: of a call, the median.
    """

    layer: str
    strategy: str
    kernel: str
    dims: str
    dtype: str
    device: str
    target: str
    row: tuple[str, str, str]
    config: dict[str, int]
    current: bool
    result: Literal["ok", "wrong", "failed"]
    detail: str = ""
    log_ratios: list[float] = field(default_factory=list)
    seconds: float | None = None
