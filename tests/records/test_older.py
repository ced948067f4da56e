"""Records of earlier schemas are read as those of today."""

from harness.records.older import upgraded


def test_a_clean_error_of_schema_1_is_a_limit() -> None:
    check = {"kind": "check", "result": "unsupported"}
    assert upgraded(check, 1)["result"] == "limited"
    assert upgraded({"kind": "status", "status": "unsupported"}, 1)["status"] == "unsupported"
