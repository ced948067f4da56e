"""The judge's side of a subject process: starts it, asks it, and says how it ended when it does."""

from __future__ import annotations

import io
import multiprocessing
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import Any

import torch

from harness.layers.drawing import Values, moved
from harness.layers.spec import Dims
from harness.run import subject
from harness.run.jobs import GREETING, how_it_ended
from harness.verify.asking import Claims, StrategyError
from harness.verify.probes import Answer, Probe, WrongAnswerError
from harness.verify.wasteful import WastefulError

_FRESH = multiprocessing.get_context("spawn")
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["harness.run.template"])


class SubjectDiedError(Exception):
    """The subject's process ended, or said something that is no reply; the text says how, and its exit code."""

    def __init__(self, how: str, code: int | None = None) -> None:
        super().__init__(how)
        self.code = code


class SubjectProcess:
    """A process that answers for the strategies of some sources (see subject.py)."""

    def __init__(self, sources: tuple[str, ...], device: str, interpret: bool, fresh: bool = False) -> None:
        """Start it; a ``fresh`` one shares no page of memory, no hash seed and no layout of addresses with others."""
        context = _FRESH if fresh else _FORKED
        self._connection, theirs = Pipe()
        self._process = context.Process(target=subject.main, args=(theirs, sources, device, interpret), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> SubjectProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()

    def send(self, request: dict[str, Any]) -> None:
        """Send a request; its reply must be fetched before the next."""
        buffer = io.BytesIO()
        torch.save(request, buffer)
        try:
            self._connection.send_bytes(buffer.getvalue())
        except OSError:
            raise self._ended() from None

    def receive(self) -> dict[str, Any]:
        """The reply.

        Raises:
            SubjectDiedError: none came, or something that is none.
        """
        try:
            if self._connection.recv_bytes(len(GREETING)) != GREETING:
                raise SubjectDiedError("wrote into the pipe of the harness")
            reply: dict[str, Any] = torch.load(io.BytesIO(self._connection.recv_bytes()), weights_only=True)
        except (EOFError, ConnectionError):
            raise self._ended() from None
        except (OSError, RuntimeError, ValueError, pickle.UnpicklingError):
            raise SubjectDiedError("wrote into the pipe of the harness") from None
        if not isinstance(reply, dict):
            raise SubjectDiedError("wrote into the pipe of the harness")
        return reply

    def _ended(self) -> SubjectDiedError:
        self._process.join(5)
        return SubjectDiedError(how_it_ended(self._process.exitcode), self._process.exitcode)

    def forget(self) -> None:
        """Drop what torch.compile has made, so that no graph of one case serves another."""
        self.send({"kind": "forget"})
        self.receive()


@dataclass(frozen=True)
class Remote:
    """A strategy in a subject process; ``module`` names a module of controls, else it is one of the sources'."""

    process: SubjectProcess
    layer: str
    strategy: str
    module: str = ""

    def _request(self, kind: str, **more: Any) -> dict[str, Any]:
        return {"kind": kind, "module": self.module, "layer": self.layer, "strategy": self.strategy, **more}

    def claims(self) -> Claims:
        """What the strategy says of itself.

        Raises:
            StrategyError: it does not import.
        """
        self.process.send(self._request("claims"))
        found = _raised(self.process.receive())["claims"]
        return Claims(
            found["gradients"],
            tuple(found["dtypes"]),
            tuple(found["needs"]),
            tuple(found["kernels"]),
            found["dead_backward"],
            tuple(found["limits"]),
            found["configurations"],
        )

    def ask(self, probe: Probe, dims: Dims, values: Sequence[Values], **options: Any) -> Answer:
        """See ``Asked``."""
        self.begin(probe, dims, values, **options)
        return self.finish()

    def begin(self, probe: Probe, dims: Dims, values: Sequence[Values], **options: Any) -> None:
        """Send a question whose answer is fetched by ``finish``, so that two subjects may work at a time."""
        request = self._request(
            "ask",
            probe=f"{probe.__module__}:{probe.__name__}",
            dims=dict(dims),
            values=[_parts(v) for v in values],
            options=options,
            threads=torch.get_num_threads(),
        )
        self.process.send(request)

    def finish(self) -> Answer:
        """The answer to what was begun."""
        answer = _raised(self.process.receive())["answer"]
        if not isinstance(answer, dict) or not all(map(_is_plain, answer.values())):
            raise SubjectDiedError("wrote into the pipe of the harness")
        return answer


def _is_plain(thing: object) -> bool:
    """Tell whether that is a tensor that can be compared, as every honest answer is (see ``asking.answer``)."""
    return (
        isinstance(thing, torch.Tensor)
        and thing.layout == torch.strided
        and thing.device.type == "cpu"
        and not thing.is_quantized
    )


def _raised(reply: dict[str, Any]) -> dict[str, Any]:
    if "wrong" in reply:
        raise WrongAnswerError(*reply["wrong"])
    if "wasteful" in reply:
        raise WastefulError(*reply["wasteful"])
    if "error" in reply:
        raise StrategyError(*reply["error"])
    if not reply.keys() & {"answer", "claims"}:
        raise SubjectDiedError("wrote into the pipe of the harness")
    return reply


def _parts(values: Values) -> dict[str, Any]:
    return {
        "inputs": {n: moved(t.detach(), "cpu") for n, t in values.inputs.items()},
        "parameters": {n: moved(t.detach(), "cpu") for n, t in values.parameters.items()},
        "cotangent": moved(values.cotangent.detach(), "cpu"),
    }
