"""A module whose package is not installed says which extra brings it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("daft", "daft", "daft"),
        ("ray", "ray", "ray"),
        ("integrations.langchain", "langchain_core", "langchain"),
        ("integrations.llama_index", "llama_index", "llama-index"),
        ("integrations.pydantic_ai", "pydantic_ai", "pydantic-ai"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(module, package, extra):
    code = f"import sys; sys.modules[{package!r}] = None; import asyncembed.{module}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f'pip install "asyncembed[{extra}]"' in ended.stderr.splitlines()[-1]
    assert "During handling" not in ended.stderr
