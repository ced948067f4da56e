"""Sizes and options as one text, the form in records: ``N=4,D=3``, or where a layer has an option ``N=4,D=3,flag=1``.

Options are told by their names: all in lower case, as no size's is (``harness.Layer`` sees to that).
"""

from __future__ import annotations


def dims_text(dims: dict[str, int]) -> str:
    """``{"N": 4, "D": 3}`` as ``N=4,D=3``."""
    return ",".join(f"{name}={size}" for name, size in dims.items())


def dims_of(text: str) -> dict[str, int]:
    """The inverse of dims_text."""
    return {name: int(size) for name, size in (pair.split("=") for pair in text.split(","))}


def sizes_of(text: str) -> dict[str, int]:
    """What counts something: all but the options."""
    return {name: size for name, size in dims_of(text).items() if not name.islower()}


def options_text(text: str) -> str:
    """The options alone, ``flag=1``; empty where there are none."""
    return dims_text({name: value for name, value in dims_of(text).items() if name.islower()})
