"""Styles of plots: what strategies state, what variants take over, and spare ones."""

from harness.report.drawing import DASHES, MARKERS, complete

OWN = {"color": "#0072B2", "marker": "o", "dash": "-"}
NONE: dict[str, str | None] = {"color": None, "marker": None, "dash": None}


def test_what_is_stated_stays_and_the_others_get_spare_ones_that_differ() -> None:
    styles = complete({"own": {**OWN, "variant_of": ""}, "b": NONE, "a": NONE})
    assert list(styles) == ["own", "b", "a"]
    assert {k: styles["own"][k] for k in OWN} == OWN
    assert len({(s["color"], s["marker"]) for s in styles.values()}) == 3


def test_variants_have_the_colour_of_what_they_vary_and_a_marker_and_dash_of_their_own() -> None:
    varied = {name: {**NONE, "variant_of": base} for name, base in (("x", "own"), ("y", "own"), ("z", "plain"))}
    styles = complete({**varied, "own": {**OWN, "variant_of": ""}, "plain": NONE})
    assert styles["x"]["color"] == styles["y"]["color"] == OWN["color"]
    assert styles["z"]["color"] == styles["plain"]["color"] != OWN["color"]
    for key, kind in (("marker", (*MARKERS, "o")), ("dash", DASHES)):
        assert len({styles[name][key] for name in ("own", "x", "y")}) == 3
        assert styles["plain"][key] != styles["z"][key]
        assert {style[key] for style in styles.values()} <= {*kind}


def test_a_variant_of_nothing_known_or_of_a_variant_gets_a_spare_style() -> None:
    stated = {
        "lost": {**NONE, "variant_of": "gone"},
        "a": {**NONE, "variant_of": "b"},
        "b": {**NONE, "variant_of": "a"},
    }
    assert len({style["color"] for style in complete(stated).values()}) == 3
