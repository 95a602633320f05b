"""A fake server in a thread of its own, and embedders of it."""

from __future__ import annotations

from support.fixtures import clean_environment  # noqa: F401  # a fixture
from support.threaded_clients import embedder, key_variable, server, spec  # noqa: F401  # fixtures
