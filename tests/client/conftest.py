"""A scripted server, clients for it, and the check that neither leaves anything behind."""

from __future__ import annotations

from support.fixtures import clean_environment, small_heap, watch  # noqa: F401  # fixtures
from support.scripted_clients import client, connect, loop_mode, once, server  # noqa: F401  # fixtures
