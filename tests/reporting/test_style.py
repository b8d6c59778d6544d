from __future__ import annotations

from robustbench_ens.reporting.style import looks


def test_known_methods_look_the_same_in_every_report():
    alone = looks({"a": "dverge"})["a"]
    assert looks({"a": "dverge", "b": "baseline", "c": "zzz"})["a"] == alone


def test_methods_differ_in_colour_marker_and_line():
    style = looks({name: name for name in ("baseline", "dverge", "adp", "gal", "advt", "own", "other")}).values()
    for values in ({s.colour for s in style}, {s.marker for s in style}, {s.line for s in style}):
        assert len(values) == 7


def test_ensembles_of_one_method_differ_in_the_filling_of_the_marker():
    small, large = looks({"baseline-3": "baseline", "baseline-5": "baseline"}).values()
    assert small.colour == large.colour
    assert small.fill != large.fill


def test_more_methods_than_looks():
    assert len(looks({f"m{i}": f"m{i}" for i in range(30)})) == 30
