"""What an author can do next: a sentence for every check and for every way of ending without an answer."""

from typing import get_args

from harness.layers.limits import LIMITS
from harness.records.advice import ENDED, NEXT, OF_OUTPUT, RANDOM, of_check, with_next
from harness.records.schema import CHECKS, Status


def test_every_check_has_a_sentence_and_nothing_else_has() -> None:
    assert list(NEXT) == list(CHECKS)
    assert all(len(text) > 20 for text in NEXT.values())


def test_what_can_be_declared_says_so() -> None:
    assert {check for check, text in NEXT.items() if f'limits=("{check}",)' in text} == {*LIMITS}


def test_every_way_of_ending_without_an_answer_has_one() -> None:
    assert {*ENDED} == {*get_args(Status)} - {"ok", "wrong", "unsupported", "skipped", "unchecked"}


def test_the_sentence_is_of_what_is_wrong() -> None:
    assert of_check("values", "output") == OF_OUTPUT
    assert of_check("values", "gradient of x") == NEXT["values"]
    assert of_check("values", "output", "it answers otherwise to the same values: dropout") == RANDOM
    assert 'gradient="by definition"' in of_check("gradcheck", "gradient of w")
    assert with_next("wrong", "mend it") == "wrong; next: mend it"
    assert with_next("wrong", "") == "wrong"
