"""What a process knows about base64, forgotten."""

from __future__ import annotations

from asyncembed._decide import base64_proof


def forget_proofs() -> None:
    """Forget all proofs, as a new process would."""
    base64_proof._PROOFS.clear()
