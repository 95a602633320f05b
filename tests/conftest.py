"""Makes the helpers in `tests/support` importable from every test: `from support.scripted import ScriptedServer`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("support")
