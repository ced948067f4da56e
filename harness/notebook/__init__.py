"""The commands as functions, for notebooks and scripts: what they find comes back as frames, figures and answers.

``from harness.notebook import bench, compare, load, verify``. They are not on the face of ``harness``, where ``verify``
is a wing. Strategies run in processes of their own, so this process loads no torch.

Errors are exceptions with the command line's one-line texts: ``UsageError``, ``SourceError``, ``StoreError``,
``QuestionError`` and others that are ``ValueError``; ``WorkerError``, a ``RuntimeError``, where workers cannot start.
"""

from harness.notebook.answers import Changes, Choice
from harness.notebook.asking import NothingMeasuredError, bench, compare, load, verify
from harness.notebook.gated import Verified
from harness.notebook.results import Run

__all__ = ["Changes", "Choice", "NothingMeasuredError", "Run", "Verified", "bench", "compare", "load", "verify"]
