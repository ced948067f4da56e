"""Code that users bring: the forms that work, and one clear line for each mistake of a new author."""

import json
from typing import Any

import pytest

from tests.conftest import PACKAGES, Cli

pytestmark = pytest.mark.timeout(600)

CHECKS = ("values", "launches", "layouts", "magnitudes", "frozen", "guarded", "global_state", "copies", "per_sample",
          "empty", "leading_dims", "training")  # fmt: skip
MISTAKES = PACKAGES / "mistakes"
LAYERS = ("unseeded", "flat_draw", "drops_itself", "detached_reference", "no_cost", "odd_cost", "diverges", "statistics",
          "dropped_module")  # fmt: skip


@pytest.fixture(scope="module")
def verified(cli: Cli) -> dict[str, Any]:
    sources = [PACKAGES / "labels", PACKAGES / "modules" / "gated.py", PACKAGES / "modules" / "forms.py"]
    sources += [MISTAKES / "scale", *(MISTAKES / "layers" / f"{name}.py" for name in LAYERS)]
    options = [word for source in sources for word in ("--from", source)]
    options += [word for name in ("cross_entropy", "gated", "forms", "scale", *LAYERS) for word in ("--layer", name)]
    options += [word for check in CHECKS for word in ("--check", check)]
    done = cli("verify", "--device", "cpu", "--json", *options, timeout=560)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _row(verified: dict[str, Any], layer: str, strategy: str) -> dict[str, Any]:
    (row,) = [r for r in verified["gate"] if (r["layer"], r["strategy"]) == (layer, strategy)]
    return row  # type: ignore[no-any-return]


SOUND = [
    ("cross_entropy", "autograd"), ("cross_entropy", "library"),
    ("gated", "autograd"), ("gated", "partial"), ("gated", "plain"), ("gated", "pure"),
    ("forms", "autograd"), ("forms", "applied"), ("forms", "operator"),
    ("scale", "autograd"), ("no_cost", "autograd"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "strategy"), SOUND)
def test_what_is_right_passes(verified: dict[str, Any], layer: str, strategy: str) -> None:
    assert _row(verified, layer, strategy)["result"] == "ok", _row(verified, layer, strategy)
    mine = [c for c in verified["checks"] if (c["layer"], c["strategy"]) == (layer, strategy)]
    assert {c["check"] for c in mine} >= {"values", "layouts", "frozen"}
    assert not [c for c in mine if c["result"] == "wrong"]


def test_labels_get_no_gradient_and_stay_whole_numbers(verified: dict[str, Any]) -> None:
    mine = [c for c in verified["checks"] if (c["layer"], c["strategy"]) == ("cross_entropy", "library")]
    tensors = {c["tensor"] for c in mine if c["check"] == "values"}
    assert tensors == {"output", "gradient of x", "gradient of weight", "gradient of bias"}
    (trained,) = [
        t
        for t in verified["training"]
        if (t["layer"], t["strategy"], t["dtype"]) == ("cross_entropy", "library", "float32")
    ]
    assert trained["result"] == "ok"


def test_a_layer_without_a_task_says_so(verified: dict[str, Any]) -> None:
    found = [c for c in verified["checks"] if c["layer"] == "gated" and c["check"] == "training"]
    assert {(c["result"], c["detail"]) for c in found} == {("not_applicable", "the layer has no task")}


@pytest.mark.parametrize(
    ("layer", "strategy", "status", "line"),
    [
        ("cross_entropy", "counts_the_ignored", "wrong", "values: output, float64, N=7,D=5,C=3, seed 0: error "),
        ("gated", "forgets_the_norm_s_bias", "wrong", "values: output, float64, N=7,D=12,HEADS=3, seed 0: error "),
        ("gated", "forgets_the_table", "wrong", "values: output, float64, N=7,D=12,HEADS=3, seed 0: error "),
        ("scale", "wrong_name", "runtime_error",
         "the forward takes (x, w), and is called with x, weight by name: missing a required argument: 'w'"),
        ("scale", "wants_more", "runtime_error",
         "the forward takes (x, weight, bias), and is called with x, weight by name: missing a required argument: 'bias'"),
        ("scale", "other_names", "runtime_error",
         "Scale has the parameters gain, and the layer has weight (a dot in a name is an underscore)"),
        ("scale", "wants_no_dim", "runtime_error",
         "the constructor of Scale wants features, and the dims are N, D: name a dim FEATURES, or give functools.partial"),
        ("scale", "wrong_shape", "wrong", "values: output, float64, N=7,D=5, seed 0 (shape is (7,), not (7, 5))"),
        ("scale", "wrong_dtype", "wrong", "(dtype is torch.float32, not torch.float64)"),
        ("scale", "detached", "wrong", "values: gradient of weight, float64, N=7,D=5, seed 0 (no gradient reached weight)"),
        ("scale", "drops", "wrong", "(it answers otherwise to the same values: dropout, or another random draw)"),
        ("scale", "needs_cuda", "skipped", "runs on cuda only, and declares no Triton kernels to interpret"),
        ("scale", "never_launched", "wrong", "launches: scale_kernel in forward, float32, N=7,D=5, seed 0 (launched 0 times)"),
        ("scale", "returns_none", "wrong", "values: output, float64, N=7,D=5, seed 0 (is None: return one torch.Tensor)"),
        ("scale", "returns_two", "wrong", "(is a list of 2: return one tensor (a layer has one output))"),
        ("scale", "returns_numpy", "wrong", "(is a numpy.ndarray: return one torch.Tensor)"),
        ("scale", "broken_import", "runtime_error",
         "broken_import.py:3: ImportError: cannot import name 'no_such_thing' from 'torch'"),
        ("scale", "no_strategy", "runtime_error", "no_strategy.py: must define `strategy = Strategy(...)`"),
        ("scale", "unknown_dtype", "runtime_error",
         "unknown_dtype.py:5: ValueError: dtypes 'float8': choose from float64, float32, bfloat16, float16"),
        ("unseeded", "autograd", "runtime_error",
         "the layer itself: the draw of x differs between two calls with the same seed: draw from the generator"),
        ("flat_draw", "autograd", "runtime_error",
         "the layer itself: its values cannot be drawn at N=7,D=5: DrawError: the draw of x gave the shape (7,), not (7, 5)"),
        ("detached_reference", "autograd", "runtime_error", "the layer itself: in its reference no gradient reached weight"),
        ("drops_itself", "autograd", "runtime_error",
         "the layer itself: its reference gives another output for the same values: draw the mask or the seed outside"),
        ("dropped_module", "autograd", "runtime_error", "its reference gives another output for the same values (dropout in drop)"),
        ("statistics", "autograd", "runtime_error", "the layer itself: its reference writes over running_mean"),
        ("odd_cost", "autograd", "runtime_error", "the layer itself: its cost for forward is int: give Cost(flops, elements)"),
        ("diverges", "autograd", "runtime_error",
         "the layer itself: the task diverges: in plain autograd and float64 the loss is no finite number at step "),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_clear_line(
    verified: dict[str, Any], layer: str, strategy: str, status: str, line: str
) -> None:
    row = _row(verified, layer, strategy)
    assert row["result"] == status, row
    assert line in row["reason"]
    assert "\n" not in row["reason"]


def test_a_strategy_of_no_layer_stops_a_run_with_one_line(cli: Cli) -> None:
    done = cli("verify", "--device", "cpu", "--layer", "affine", "--from", MISTAKES / "files" / "of_nobody.py")
    assert done.returncode == 2
    (said,) = [text for text in done.stderr.splitlines() if text.startswith("layerbench: ")]
    assert "files/of_nobody.py is a strategy of 'scaled', which is no layer here: define `layer = Layer(...)`" in said
    assert "or name one of affine, decay_attention" in said
    assert "Traceback" not in done.stderr
