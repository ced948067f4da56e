"""Text that somebody else wrote, made harmless for where it is shown."""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_MARKUP = re.compile(r"([\\`*_{}\[\]()#|~!$])")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def terminal(text: object) -> str:
    r"""Control sequences, line breaks and what turns the direction of writing as ``\x1b``, ``\u202e``."""
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _UNSEEN else c for c in str(text)
    )


def markdown(text: object) -> str:
    """One line without markup, links, HTML or table cells of its own."""
    plain = terminal(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", plain)


def spreadsheet(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
