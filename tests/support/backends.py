"""ijson with one of its backends in the place of the one it chose."""

from __future__ import annotations

import types

import ijson


def ijson_with(name: str) -> types.SimpleNamespace:
    """What the event reader needs of ijson, of the backend with that name."""
    backend = ijson.get_backend(name)
    return types.SimpleNamespace(
        basic_parse_coro=backend.basic_parse_coro, sendable_list=ijson.sendable_list, JSONError=ijson.JSONError
    )
