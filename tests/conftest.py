"""Settings of all tests; `tests/support` can be imported from each: `from support.scripted import ScriptedServer`."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis
import pytest

# A busy machine takes its time; a test that hangs has a time limit of its own.
hypothesis.settings.register_profile("asyncembed", deadline=None)
hypothesis.settings.load_profile("asyncembed")

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("support")


@pytest.fixture(autouse=True)
def no_proofs():
    """Another test's server may have had the same port."""
    from support.proofs import forget_proofs

    forget_proofs()
