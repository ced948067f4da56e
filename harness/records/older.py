"""Records of earlier schemas, read as those of today: every change of the format stands here and nowhere else.

* Schema 1 had one word, ``unsupported``, for a check whose answer was a clean error; today that is ``limited``.
"""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]


def upgraded(record: Record, schema: int) -> Record:
    """A record as it would be written today.

    Args:
        schema: that of the run which it comes from.
    """
    if schema < 2 and record["kind"] in ("check", "training") and record.get("result") == "unsupported":
        return {**record, "result": "limited"}
    return record
