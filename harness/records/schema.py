"""What is written down: one frozen dataclass for each kind of record, all strings and numbers.

A record is one line of JSON: ``kind``, ``cell`` and ``attempt`` (see store.py), then the fields below, nested
dataclasses laid flat. Times are in seconds, memory in bytes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from harness.records.gate import ControlResult, Waived
from harness.records.kernels import Candidate, Compiled
from harness.records.meter import Proof, Roof

SCHEMA = 2
"""Of the records; what has changed since earlier ones is in older.py."""

DTYPES = ("float64", "float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda")
CHECKS = (
    "values", "untouched", "stale", "special_values", "launches", "cotangents", "layouts", "magnitudes",
    "side_by_side", "updated", "updated_between", "walked_twice", "accumulation", "frozen", "backward_returns",
    "repeats", "races", "dead_backward", "context", "released", "global_state", "steady_memory", "settled", "guarded",
    "far_apart", "causality", "double_backward", "third_order", "forward_ad", "func_grad", "per_sample",
    "through_vmap", "jacrev", "compile", "described", "autocast", "checkpoint", "copies", "shapes", "empty",
    "leading_dims", "long", "many_elements", "gradcheck", "search", "training", "fresh_process", "data_parallel",
)  # fmt: skip
"""Names of the gate's checks, in their order."""

Status = Literal[
    "ok", "wrong", "unchecked", "unsupported", "skipped", "oom", "compile_error", "runtime_error", "crashed", "timeout"
]
Result = Literal["ok", "wrong", "limited", "wasteful", "ill_conditioned", "not_applicable", "not_run"]
"""Of a check. ``wrong``: a silent wrong answer in what is claimed, which alone keeps a strategy from being timed.
``limited``: a clean error, or something that is declared not to be offered. ``wasteful``: right, and does or keeps what
nobody asked for. ``ill_conditioned``: rounding leaves too few digits. The status ``unchecked``: nobody could judge."""
JUDGE = "judge"  # stands for the tensor in a record of a check in which the judge itself has failed


@dataclass(frozen=True)
class Group:
    """All strategies of one layer × dims × dtype × device × threads; what is compared with each other."""

    layer: str
    dims: str
    dtype: str
    device: str
    threads: int

    def __str__(self) -> str:
        threads = f" {self.threads} threads" if self.device == "cpu" and self.threads > 1 else ""
        return " ".join(filter(None, (self.layer, self.dims, self.dtype, self.device))) + threads


@dataclass(frozen=True)
class LayerFacts:
    """A layer as described by the worker that imported it, so that planning needs no torch.

    ``digest`` is of all the files of its folder but the strategies'; ``options`` are the values that each may have;
    ``first_layer`` is whether a step leaves the gradients of the inputs out;
    ``shapes`` are the names of the dims of inputs, parameters and output, where they are names. A layer without a task
    has neither losses nor a title of one.
    """

    layer: str
    digest: str
    title: str
    formula: str
    reference: str
    sizes: dict[str, dict[str, list[str]]]
    task_title: str = ""
    task_source: str = ""
    task_naive: str = ""
    naive_loss: float | None = None
    target_loss: float | None = None
    options: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    has_samples: bool = False
    first_layer: bool = False
    shapes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class StrategyFacts:
    """A strategy as described by the worker that imported it.

    ``digest`` is of its file, and of that of the strategy of which it is a variant. ``error`` is set where the import
    failed, ``missing`` where that was for want of a package. ``limits`` are what it declares not to offer.
    """

    layer: str
    strategy: str
    summary: str
    path: str
    digest: str
    gradients: str = "tape"
    devices: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    simplicity: int = 99
    kernels: tuple[str, ...] = ()
    color: str | None = None
    marker: str | None = None
    dash: str | None = None
    variant_of: str = ""
    limits: tuple[str, ...] = ()
    error: str | None = None
    missing: str | None = None


@dataclass(frozen=True)
class Check:
    """One verified property of a strategy. ``error`` and ``bound`` are norms pooled over the draws.

    ``setting`` says what was special about it, such as ``uniform cotangent``; ``upstream`` names the defect of PyTorch
    that a wrong answer was shown to come from. ``vanishes``: the true answer is 0, and so is this one, to rounding.
    """

    layer: str
    strategy: str
    check: str
    dtype: str
    device: str
    dims: str
    tensor: str
    result: Result
    error: float | None = None
    bound: float | None = None
    reference_error: float | None = None
    draws: int = 0
    seed: int = 0
    detail: str = ""
    setting: str = ""
    upstream: str = ""
    vanishes: bool = False


@dataclass(frozen=True)
class Training:
    """A strategy's training on the layer's task; ``losses`` is the curve of the first start, before each step.

    ``verdict`` is that of equivalence with the reference over all starts, ``digest`` that of the first start's
    parameters after the last step, bit for bit.
    """

    layer: str
    strategy: str
    dtype: str
    device: str
    result: Result
    steps: int
    starts: int
    losses: list[float]
    oracle_losses: list[float]
    final_loss: float | None
    error: float | None
    bound: float | None
    detail: str = ""
    verdict: str = ""
    digest: str = ""


SAMPLE_SECONDS = 4e-3
"""The timed calls of a sample last so long at least."""


@dataclass(frozen=True)
class Samples:
    """The samples of one case in one launch: round r's is ``seconds[r]`` for ``calls`` calls.

    A call of round r took ``call_seconds[r]``: the interquartile mean of its calls where they are timed singly, else
    their mean, as in earlier records, which do not have it.

    Attributes:
        again: the baseline's second arm, the baseline against itself.
        order: position in each round. The lists after it: minor page faults, involuntary context switches, CPU and
            wall seconds of each sample with its re-warm calls.
        steady: whether the warm-up settled.
        digest: of output and gradients for the launch's values.
        regime: ``wall``, or on CUDA also ``device_cold`` and ``device_hot``.
        new_contents: where calls are timed singly, of each judged round the time of a call that read contents which
            were new to it ÷ the median of the others in its sample.
    """

    group: Group
    strategy: str
    again: bool
    passed: str
    launch: int
    calls: int
    seconds: list[float]
    order: list[int]
    faults: list[int]
    switches: list[int]
    cpu_seconds: list[float]
    wall_seconds: list[float]
    steady: bool
    digest: str
    regime: str = "wall"
    call_seconds: list[float] | None = None
    new_contents: list[float] | None = None


@dataclass(frozen=True)
class Rounds:
    """What the machine did while a pass of a group was timed: a list of readings by name, one entry a round.

    ``redone`` rounds were thrown away for a throttled clock and done again. ``spent`` seconds went into the pass, all
    arms, calibration and untimed calls together. The answers of ``judged`` timed calls of each arm were held against
    the oracle; ``unseen`` says which stale answer would have passed there for right, or why none was judged.
    """

    group: Group
    passed: str
    launch: int
    regime: str
    redone: int
    readings: dict[str, list[float]]
    spent: float = 0.0
    judged: int = 0
    unseen: str = ""


@dataclass(frozen=True)
class SecondLook:
    """A pass of a group that the planned launches left inconclusive, and that gets more of them."""

    group: Group
    passed: str


@dataclass(frozen=True)
class Work:
    """What no implementation of a pass of a group can do without."""

    group: Group
    passed: str
    flops: int
    bytes: int


@dataclass(frozen=True)
class Memory:
    """Bytes above parameters and inputs, of a forward, a backward and a step (see measure/memory.py).

    ``least`` is what output and gradients take, which no strategy can do without; ``reserved`` what the allocator has
    taken from the device besides (CUDA). Earlier records have ``step_with_loss_peak`` instead of ``step_peak``.
    """

    group: Group
    strategy: str
    saved: int
    forward_peak: int
    backward_peak: int
    step_peak: int
    left: int
    least: int = 0
    reserved: int | None = None


@dataclass(frozen=True)
class FirstCall:
    """Seconds of the first forward and backward in a fresh process; ``cold`` with empty compile caches.

    ``loading`` seconds went before, to import and build the strategy; ``warm_up`` seconds followed, where timing did.
    """

    group: Group
    strategy: str
    launch: int
    cold: bool
    seconds: float
    warm_up: float = 0.0
    loading: float = 0.0


@dataclass(frozen=True)
class CaseStatus:
    """Why something has no result; an empty field means all of them (no ``dims``: every size)."""

    layer: str
    strategy: str
    status: Status
    reason: str
    stage: str
    dims: str = ""
    dtype: str = ""
    device: str = ""
    threads: int = 0
    passed: str = ""


@dataclass(frozen=True)
class CellEnd:
    """Closes a unit of work: its records count from here on; ``node`` of a cluster is where it was done.

    ``waited`` seconds went before it began, since its process was started or had closed the cell before.
    """

    seconds: float
    node: str = ""
    waited: float = 0.0


KINDS: dict[type, str] = {
    LayerFacts: "layer",
    StrategyFacts: "strategy",
    Check: "check",
    Training: "training",
    ControlResult: "control",
    Waived: "waived",
    Samples: "samples",
    Rounds: "rounds",
    SecondLook: "second_look",
    Roof: "roof",
    Work: "work",
    Proof: "proof",
    Memory: "memory",
    FirstCall: "first_call",
    Compiled: "kernel",
    Candidate: "candidate",
    CaseStatus: "status",
    CellEnd: "cell",
}


def as_record(item: Any) -> dict[str, Any]:
    """A dataclass as a record: its kind, its fields, a Group's fields among them.

    Raises:
        KeyError: for a type that is not a kind of record.
    """
    record: dict[str, Any] = {"kind": KINDS[type(item)]}
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if isinstance(value, Group):
            record |= dataclasses.asdict(value)
        else:
            record["pass" if f.name == "passed" else f.name] = value
    return record
