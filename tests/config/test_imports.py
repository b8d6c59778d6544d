from __future__ import annotations

import pytest

from robustbench_ens.config.imports import imported_by


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import a", {"a"}),
        ("import a.b as c, d", {"a.b", "d"}),
        ("from a import b, c as d", {"a", "a.b", "a.c"}),
        ("from a.b import *", {"a.b"}),
        ("from . import x", {"p.q", "p.q.x"}),
        ("from .x import y", {"p.q.x", "p.q.x.y"}),
        ("from .. import x", {"p", "p.x"}),
        ("from ..x.y import z", {"p.x.y", "p.x.y.z"}),
        ("from .... import x", set()),
        ("def f():\n    import a", {"a"}),
        ("class C:\n    def f(self):\n        from .x import y", {"p.q.x", "p.q.x.y"}),
        ("try:\n    import a\nexcept ImportError:\n    import b", {"a", "b"}),
        ("if False:\n    import a\nelse:\n    import b", {"a", "b"}),
        ("import_module('a.b')", {"a.b"}),
        ("importlib.import_module('.x', __package__)", {"p.q.x"}),
        ("__import__('a')", {"a"}),
        ("load('a')", set()),
        ("import_module(name)", {"p.q.*"}),
        ("import_module(f'models.{name}')", {"models.*"}),
        ("import_module(f'models.{kind}.{name}')", {"models.*"}),
        ("import_module(f'models.net_{name}')", {"models.*"}),
        ("import_module(f'{package}.{name}')", {"p.q.*"}),
        ("import_module(f'.{name}', __name__)", {"p.q.*"}),
        ("import_module(f'..{name}', __name__)", {"p.*"}),
        ("import_module('models.' + name)", {"models.*"}),
        ("import_module('models.' + name + '.net')", {"models.*"}),
        ("import_module('models.%s' % name)", {"models.*"}),
        ("import_module('models.{}'.format(name))", {"models.*"}),
        ("import_module('.' + name, __package__)", {"p.q.*"}),
        ("x = '\\d'", set()),
        ("def f(:", set()),
        ("x = '\0'", set()),
        ("(" * 1000 + ")" * 1000, set()),
    ],
)
def test_what_a_text_imports(text: str, expected: set[str]) -> None:
    assert imported_by(text.encode(), "p.q.m", is_package=False) == expected


@pytest.mark.parametrize("text", ["__all__ = ['x', 'y']", "__all__ += ('x', 'y')", "__all__: list[str] = ['x', 'y']"])
def test_what_a_package_exports_may_be_modules(text: str) -> None:
    assert imported_by(text.encode(), "p.q", is_package=True) == {"p.q.x", "p.q.y"}
    assert imported_by(text.encode(), "p.q", is_package=False) == set()


def test_relative_imports_of_a_package_start_at_itself() -> None:
    assert imported_by(b"from . import x", "p.q", is_package=True) == {"p.q", "p.q.x"}


def test_computed_names_outside_any_package() -> None:
    assert imported_by(b"import_module(name)", "m", is_package=False) == set()
    assert imported_by(b"import_module(f'models.{name}')", "m", is_package=False) == {"models.*"}


def test_bytes_that_are_no_text() -> None:
    assert imported_by(b"\xff\xfe\x00", "m", is_package=False) == set()
