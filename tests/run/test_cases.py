"""Small layers and strategies after the kind of mistake in public reports: right code passes, wrong code is refused.

The folder of each says where its kind was seen (tests/packages/cases/README.md); each is one ``verify``, as a user types it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PACKAGES, Cli

CASES = PACKAGES / "cases"
EXPECTED = {
    "01-grad-strides": {
        "gain": {"right": "", "right_once": "double_backward", "right_declared": "", "wrong": "cotangents"},
    },
    "03-ce-overwrites-logits": {"ce": {"right": "", "wrong": "untouched"}},
    "08-conv-short-state": {"cconv": {"right": "", "wrong": "shapes"}},
    "14-ste-clamp": {"fakequant": {"autograd": "", "right": "", "wrong": "values"}},
    "18-autotune-atomic": {"wsum": {"right": "", "right_fn": "", "wrong": "values"}},
    "23-cached-output": {"mmbig": {"wrong_by_version": "stale"}},
    "25-l2norm-zero-row": {
        "l2": {"right": "", "wrong_nan_at_zero": "special_values"},
        "l2pad as l2": {"right": "", "wrong_nan_at_zero": "values"},
    },
    "28-fast-path": {"ln": {"right": "", "wrong_1024": "values"}},
    "29-vmap-drops-gradient": {"sq": {"right": "", "wrong": "through_vmap"}},
    "33-scalar-noise": {"wsum": {"right_noise": ""}},
    "34-bf16-kernel": {"gain": {"right": "", "right_cast": ""}},
    "cancels": {"rms_norm": {"right_cast_twice": ""}},
    "fft-causality": {"fftconv": {"autograd": "", "fft": ""}},
    "reference-in-float32": {"float_norm": {"autograd": "", "library": ""}},
}
"""By folder and layer, strategies with the check that must refuse each; "" where it must pass."""


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("folder", "layer"), [(f, layer) for f, layers in EXPECTED.items() for layer in layers])
def test_right_code_passes_and_wrong_code_is_refused_by_name(cli: Cli, tmp_path: Path, folder: str, layer: str) -> None:
    expected = EXPECTED[folder][layer]
    file, _, renamed = layer.partition(" as ")
    files = {renamed or file: CASES / folder / f"{file}.py"}
    files |= {name: CASES / folder / f"{name}.py" for name in expected}
    sources: list[Path | str] = []
    for name, path in files.items():
        if path.exists():  # a strategy may stand in the layer's file, and a layer among ours
            sources += ["--from", shutil.copy(path, tmp_path / f"{name}.py")]
    chosen = [word for name in expected for word in ("--strategy", name)]
    done = cli("verify", "--device", "cpu", "--layer", renamed or file, *chosen, *sources, "--json", timeout=580)
    rows: list[dict[str, Any]] = json.loads(done.stdout)["gate"]
    refused = {r["strategy"]: "" if r["result"] == "ok" else f"{r['result']}: {r['reason']}" for r in rows}
    assert refused.keys() == expected.keys()
    for name, check in expected.items():
        assert refused[name] == "" if not check else refused[name].startswith(f"wrong: {check}:"), refused[name]
    assert done.returncode == (1 if any(expected.values()) else 0)
