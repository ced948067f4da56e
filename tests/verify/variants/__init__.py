"""Every fault of the controls once more, on other layers and written anew: a check must not be fitted to its control.

Each module has the shape of one of ``harness.verify.controls``: ``layer``, ``reference``, ``STRATEGIES`` with one that is
``sound``, and ``CONTROLS`` by the names of the controls. ``MORE`` holds further forms of the same faults.
"""
