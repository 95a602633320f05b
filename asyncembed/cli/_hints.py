"""What may be wrong, where the error itself does not say it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asyncembed import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_LISTENER: Final = re.compile(r"Connect call failed|[Cc]onnection refused|Cannot connect to unix socket")
_OWN_MACHINE: Final = re.compile(r"host (?:localhost|127\.|\[?::1)|unix socket")


def hints(error: BaseException, base_url: object) -> Iterator[str]:
    """Yield hints about an error.

    Args:
        error: The error.
        base_url: The value of `--base-url`, if it is given.
    """
    message = str(error)
    is_own = base_url or _OWN_MACHINE.search(message)  # a provider's own server does run
    if isinstance(error, TransportError) and is_own and _NO_LISTENER.search(message):
        yield "Nothing listens at this address: is the server running?"
