"""The public names: exactly these, each documented, and faults that are values."""

from __future__ import annotations

import inspect

import pytest

from asyncembed import testing
from asyncembed.testing import faults

KINDS = [getattr(faults, name) for name in faults.__all__ if inspect.isclass(getattr(faults, name))]
ARGUMENTS = {
    faults.Redirect: {"location": "/"},
    faults.Poisoned: {"text": "a"},
    faults.TooLarge: {"items": 1},
    faults.ServiceError: {"service": "openai", "meaning": "key"},
}


@pytest.mark.parametrize("module", [testing, faults], ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module):
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
            assert not value.__doc__.startswith(f"{name}("), name  # what a dataclass makes up


@pytest.mark.parametrize(
    "kind", [*KINDS, *(getattr(testing, name) for name in ("Entry", "Limit", "Chaos", "FakeServer", "KnownError"))]
)
def test_every_attribute_is_documented(kind):
    documented = "".join(base.__doc__ or "" for base in kind.__mro__)
    for name in kind.__dataclass_fields__:
        assert name.startswith("_") or f"{name}: " in documented, f"{kind.__name__}.{name}"


@pytest.mark.parametrize("kind", KINDS)
def test_faults_are_values(kind):
    """Equal, hashable, and written as they are made, so that a failing seed says what it met."""
    one, other = (kind(**ARGUMENTS.get(kind, {})) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert eval(repr(one), vars(faults)) == one
