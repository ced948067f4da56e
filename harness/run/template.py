"""What the process that subjects are forked from has imported: torch and the checks, and nothing that it starts.

multiprocessing imports this module in its fork server. The server is killed with the worker, and its subjects with it.
"""

import gc

from harness.run.worker import live_and_die_with_the_parent

live_and_die_with_the_parent()

import harness.verify.suite  # noqa: E402, F401 - late, so that a server whose worker is killed at once dies too

gc.freeze()  # what is here is no strategy's: their processes' collector need not go through it
