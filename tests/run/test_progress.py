"""What a person sees while it runs."""

import io

from rich.console import Console

from harness.run.progress import Reporter


def test_what_is_left_out_is_no_longer_counted_and_a_second_look_is() -> None:
    text = io.StringIO()
    reporter = Reporter(Console(file=text, soft_wrap=True))
    reporter.estimate(600.0, 10)
    reporter.done(2)
    reporter.adjust(-5)
    reporter.now("affine")
    assert text.getvalue().startswith("[2/5, ")
    assert text.getvalue().endswith("] affine\n")
    reporter.done(3)
    reporter.adjust(12)
    reporter._last = 0.0
    reporter.now("again")
    assert "\n[5/17, " in text.getvalue()
