"""List where our tables of models differ from a published catalogue: `python -m benchmarks.catalogue FILE...`.

Each file is litellm's `model_prices_and_context_window_backup.json`, from its wheel. The script copies nothing into our
tables. Check every difference by hand, because catalogues have errors, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncembed.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncembed.providers import Model

MILLION = 1_000_000


def differences(catalogue: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the differences of each model that both know, and the embedding models of our providers that we lack."""
    known = {name: model for kind in PROVIDERS.values() for name, model in kind.models.items()}
    for entry, facts in sorted(catalogue.items()):
        if facts.get("mode") != "embedding":
            continue
        name = next((found for found in (entry, entry.partition("/")[2]) if found in known), None)
        if name:
            yield from (f"{name}: {what}" for what in _differences(known[name], facts))
        elif entry.partition("/")[0] in PROVIDERS:
            yield f"{entry}: not in our tables"


def _differences(model: Model, facts: dict[str, Any]) -> Iterator[str]:
    theirs = {
        "dimension": facts.get("output_vector_size"),
        "max_tokens": facts.get("max_input_tokens"),
        "price": round((facts.get("input_cost_per_token") or 0) * MILLION, 4) or None,
    }
    ours = {
        "dimension": model.dimension,
        "max_tokens": model.max_tokens,
        "price": model.price.dollars if model.price else None,
    }
    for what, value in theirs.items():
        if value is not None and ours[what] != value:
            yield f"{what} is {ours[what]} here and {value} there"


def main() -> None:
    """Print the differences to each file."""
    for path in map(Path, sys.argv[1:]):
        catalogue = json.loads(path.read_text("utf-8"))
        lines = sorted(set(differences(catalogue)))
        print(f"{path}: {len(lines)} differences")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
