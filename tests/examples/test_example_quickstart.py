"""The quickstart as a newcomer runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("local_model")
def test_it_prints_the_similarity_of_each_text_and_the_answer_is_nearest(examples: Path, environment) -> None:
    command = [sys.executable, "-W", "error", examples / "quickstart.py"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)

    question, *lines = run.stdout.splitlines()
    pairs = (re.fullmatch(r" *(-?\d\.\d\d)  (.+)", line).groups() for line in lines)
    scores = {text: float(score) for score, text in pairs}
    assert question == "How do I get my money back?"
    assert len(scores) == 4
    assert max(scores, key=scores.get) == "Send the purchase back and we return what you paid."
    assert all(-1 <= score <= 1 for score in scores.values())
    assert not run.stderr
