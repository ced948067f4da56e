"""The process in which strategies are judged: it imports them and does what the judge asks, one request at a time.

It holds nothing that a strategy could spoil to its advantage: values come with each request, answers go back as plain
tensors, and the comparing is done on the other side. A strategy may patch torch, the clock or this very file; all that
it can change is its own answers.

A subject is forked from a process that has only imported torch (template.py), which takes milliseconds, or where it
must share nothing with another, spawned.
"""

from __future__ import annotations

import importlib
import io
import os
import resource
import sys
from contextlib import nullcontext
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from harness.run.jobs import DEVICE_LOST, GREETING
from harness.run.worker import live_and_die_with_the_parent

KEPT_BYTES = 2**31
"""Of GPU memory that may stay in torch's cache between requests: other subjects need some at the same time."""


def main(connection: Connection, sources: tuple[str, ...], device: str, interpret: bool) -> None:
    """Answer requests until the connection closes.

    Args:
        interpret: whether Triton kernels run in its interpreter.
    """
    live_and_die_with_the_parent()
    _keep_only(connection.fileno())
    os.environ.pop("TRITON_INTERPRET", None)
    if interpret:
        os.environ["TRITON_INTERPRET"] = "1"
    import torch

    from harness.verify.interpreting import quicken
    from harness.verify.libdevice import fill_in
    from harness.verify.narrow_floats import widen
    from harness.verify.state import remember_state
    from harness.verify.tuners import tune_without_timing

    torch.set_num_threads(1)
    if interpret:
        widen()
        quicken()
        tune_without_timing()
        fill_in()
    remember_state()
    shelf = Shelf(sources, device)
    while True:
        try:
            request = torch.load(io.BytesIO(connection.recv_bytes()), weights_only=True)
        except EOFError:
            os._exit(0)
        buffer = io.BytesIO()
        torch.save(shelf.reply(request), buffer)
        connection.send_bytes(GREETING)
        connection.send_bytes(buffer.getvalue())


def _keep_only(descriptor: int) -> None:
    """Close multiprocessing's own pipes: a strategy that writes into every descriptor must not reach its server."""
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class Shelf:
    """Layers and strategies as they are asked for."""

    def __init__(self, sources: tuple[str, ...], device: str) -> None:
        from harness.layers.discover import scan

        self.device = device
        self._threads = 1
        self._entries = {(e.layer, e.strategy): e for e in scan(sources)}
        self._loaded: dict[tuple[str, str | None], Any] = {}

    def find(self, module: str, layer: str, strategy: str) -> tuple[Any, Any]:
        """A layer and a strategy: of the sources, or of a module of controls.

        Raises:
            ImportError: with the file's own error in one line.
        """
        from harness.layers.discover import load
        from harness.verify.state import importing

        if module:
            with nullcontext() if module in sys.modules else importing():
                controls = importlib.import_module(module)
            return controls.layer, controls.STRATEGIES[strategy]
        found = []
        for key in ((layer, None), (layer, strategy)):
            if key not in self._loaded:
                with importing():
                    self._loaded[key] = load(self._entries[key])
            loaded = self._loaded[key]
            if loaded.error is not None:
                raise ImportError(loaded.error)
            found.append(loaded.value)
        return found[0], found[1]

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one request."""
        import torch

        from harness.verify.asking import StrategyError, answer, claims_of, status_of
        from harness.verify.probes import WrongAnswerError
        from harness.verify.wasteful import WastefulError

        if request["kind"] == "forget":
            if "torch._dynamo" in sys.modules:
                torch.compiler.reset()
            return {}
        try:
            layer, strategy = self.find(request["module"], request["layer"], request["strategy"])
        except ImportError as error:
            return {"error": ["runtime_error", str(error)]}
        if request["kind"] == "claims":
            return {"claims": asdict(claims_of(strategy))}
        module, name = request["probe"].split(":")
        probe = getattr(importlib.import_module(module), name)
        if request["threads"] != self._threads:  # else a strategy's own change is left for the gate to see
            self._threads = request["threads"]
            torch.set_num_threads(self._threads)
        try:
            values = [_values(v, layer, self.device) for v in request["values"]]
            found = answer(layer, strategy, probe, request["dims"], values, request["options"])
            plain = {n: t.detach().cpu() for n, t in found.items()}
            del found, values
            if self.device == "cuda" and torch.cuda.memory_reserved() > KEPT_BYTES:
                torch.cuda.empty_cache()
            return {"answer": plain}
        except WrongAnswerError as wrong:
            return {"wrong": [wrong.tensor, str(wrong)]}
        except WastefulError as waste:
            return {"wasteful": [waste.tensor, str(waste)]}
        except StrategyError as error:
            self._leave_if_the_device_is_lost()
            return {"error": [error.status, str(error)]}
        except Exception as error:  # noqa: BLE001 - moving the tensors may fail too: no memory, a device that is lost
            self._leave_if_the_device_is_lost()
            return {"error": list(status_of(error))}

    def _leave_if_the_device_is_lost(self) -> None:
        import torch

        if self.device == "cuda":
            try:
                torch.cuda.synchronize()
            except RuntimeError:
                os._exit(DEVICE_LOST)


def _values(parts: dict[str, Any], layer: Any, device: str) -> Any:
    from harness.layers.drawing import Values, moved

    return Values(
        {n: moved(t, device) for n, t in parts["inputs"].items()},
        {n: moved(t, device) for n, t in parts["parameters"].items()},
        moved(parts["cotangent"], device),
        layer.operands,
    )
