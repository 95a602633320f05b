"""ijson with one of its backends in the place of the one it chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ijson

if TYPE_CHECKING:
    import pytest

BACKENDS = ("yajl2_c", "python")


def use_backend(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Parse with the backend of that name from now on, as each of them may be what ijson finds at the user's."""
    monkeypatch.setattr(ijson, "basic_parse_coro", ijson.get_backend(name).basic_parse_coro)
