"""Type checkers take usual code of users, and refuse the mistakes that the types are there for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
USAGE, REFUSED = FOLDER / "usage.py", FOLDER / "refused.py"
PYRIGHT = Path(sys.executable).with_name("pyright")


def marked_lines() -> list[str]:
    lines = REFUSED.read_text("utf-8").splitlines()
    return [f"refused.py:{number}" for number, line in enumerate(lines, 1) if line.endswith("# refused")]


@pytest.mark.timeout(600)
def test_mypy_takes_usual_code_and_refuses_mistakes():
    pytest.importorskip("mypy", reason="mypy is not installed")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--output",
        "json",
        "--no-error-summary",
        str(USAGE),
        str(REFUSED),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [
        (f"{Path(each['file']).name}:{each['line']}", each["message"]) for each in found if each["severity"] == "error"
    ]
    assert sorted({place for place, _ in errors}) == sorted(marked_lines()), errors


@pytest.mark.timeout(600)
@pytest.mark.skipif(not PYRIGHT.exists(), reason="pyright is not installed")
def test_pyright_takes_usual_code_and_refuses_mistakes():
    command = [str(PYRIGHT), "--project", str(FOLDER), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [(f"{Path(each['file']).name}:{each['range']['start']['line'] + 1}", each["message"]) for each in found]
    assert sorted({place for place, _ in errors}) == sorted(marked_lines()), errors
