"""The ``describe`` cell: what the sources hold, as facts, so that planning runs no torch and no stranger's code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch

from harness.layers.discover import Loaded
from harness.layers.spec import Layer
from harness.records.dims import dims_text
from harness.records.environment import collect
from harness.records.schema import CaseStatus, LayerFacts, StrategyFacts
from harness.run.jobs import Cell
from harness.run.process import Process
from harness.verify.asking import status_of


def describe(process: Process, cell: Cell) -> Iterator[Any]:
    """Facts of every layer and strategy, and of the machine; a file that fails to import is described by its error."""
    yield collect(torch)
    for (layer, strategy), entry in process.entries.items():
        name = f"{layer}/{strategy or ''}"
        if name in cell.strategies:
            loaded = Loaded(entry, None, f"{entry.path.name}: ended or hung the process when it was imported")
        else:
            process.about_to(str(cell.group), name, f"import of {entry.path.name}")
            loaded = process.load(layer, strategy)
        try:
            yield _facts(process, layer, strategy, loaded)
        except Exception as error:  # noqa: BLE001 - a stranger's layer or strategy may hold anything
            text = f"{entry.path.name}: cannot be described: {status_of(error)[1]}"
            yield _facts(process, layer, strategy, Loaded(entry, None, text))


def _facts(
    process: Process, layer: str, strategy: str | None, loaded: Loaded
) -> LayerFacts | StrategyFacts | CaseStatus:
    return _layer_facts(layer, loaded) if strategy is None else _strategy_facts(process, layer, strategy, loaded)


def _layer_facts(name: str, loaded: Loaded) -> LayerFacts | CaseStatus:
    if loaded.error is not None:
        return CaseStatus(name, "", "runtime_error", loaded.error, "import")
    layer: Layer = loaded.value
    sizes = {
        device: {profile: [dims_text(dict(d)) for d in all_dims] for profile, all_dims in profiles.items()}
        for device, profiles in layer.sizes.items()
    }
    task = layer.task
    facts = LayerFacts(
        name, _digest(loaded), layer.title or name, layer.formula, layer.reference, sizes,
        options=dict(layer.options), has_samples=layer.has_samples, first_layer=layer.first_layer,
        shapes=(*(operand.names for operand in layer.operands.values()), tuple(layer.output)),
    )  # fmt: skip
    if task is None:
        return facts
    return replace(
        facts, task_title=task.title, task_source=task.source, task_naive=task.naive, naive_loss=task.naive_loss,
        target_loss=task.target_loss,
    )  # fmt: skip


def _digest(loaded: Loaded) -> str:
    """Of everything in a layer's folder that is no strategy: the mathematics, helper modules, data; or of its file."""
    if loaded.entry.alone:
        return hashlib.sha256(loaded.entry.path.read_bytes()).hexdigest()
    folder = loaded.entry.path.parent
    files = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    mine = sorted(p for p in files if p.suffix != ".py" or p.name.startswith("_") or p.parent != folder)
    sha = hashlib.sha256()
    for path in mine:
        sha.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()


def _strategy_facts(process: Process, layer: str, name: str, loaded: Loaded) -> StrategyFacts:
    entry = loaded.entry
    text = entry.path.read_bytes()
    path = f"{entry.path.parent.name}/{entry.path.name}"
    error, s = loaded.error, loaded.value
    if error is None and s.variant_of:
        varied = process.entries.get((layer, s.variant_of))
        if varied is None or s.variant_of == name:
            error = f"{entry.path.name}: variant_of {s.variant_of!r} is no other strategy of {layer}"
        else:
            text += varied.path.read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    if error is not None:
        return StrategyFacts(layer, name, entry.summary, path, digest, error=error, missing=loaded.missing)
    style = asdict(s.style) if s.style else {}
    return StrategyFacts(
        layer, name, entry.summary, path, digest, s.gradients, s.devices, s.dtypes, s.needs, s.simplicity,
        tuple(k.name for k in s.kernels), variant_of=s.variant_of, limits=s.limits, **style,
    )  # fmt: skip
