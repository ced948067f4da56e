"""Refusing a word that is none of those known."""

from collections.abc import Sequence


def one_of(what: str, given: Sequence[str], known: Sequence[str], some: bool = True) -> None:
    """Raise ValueError with the valid choices."""
    if isinstance(given, str):
        raise ValueError(f"{what} {given!r}: give a tuple, such as ({given!r},)")
    for name in given:
        if name not in known:
            raise ValueError(f"{what} {name!r}: choose from {', '.join(known)}")
    if some and not given:
        raise ValueError(f"{what}: give at least one of {', '.join(known)}")
