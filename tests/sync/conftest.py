"""A fake server in a thread of its own, and embedders of it."""

from __future__ import annotations

from support.threaded import clean_environment, embedder, server, spec

__all__ = ["clean_environment", "embedder", "server", "spec"]
