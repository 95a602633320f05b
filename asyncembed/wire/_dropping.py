"""The connections of a client that was dropped instead of closed, which nothing waits for any more.

aiohttp and asyncio have no public way to close them where their event loop does not run, and report on stderr what was
not closed. So this does what both do themselves when they find it, without the report; where a version of theirs keeps
these things elsewhere, the report comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    import aiohttp


def drop_connections(connector: aiohttp.BaseConnector, *, has_loop: bool = True) -> None:
    """Close the connections of a connector at once.

    Args:
        connector: The connector; this is called on its loop, if that runs.
        has_loop: Whether its loop may be told. Otherwise it was closed, or belongs to another process, and this
            closes the sockets of this process alone.
    """
    if has_loop:
        if close := getattr(connector, "_close", None):
            close(abort_ssl=True)
        return
    kept: dict[object, list[tuple[object, float]]] = getattr(connector, "_conns", {})
    protocols = [protocol for each in kept.values() for protocol, _ in each] + [*getattr(connector, "_acquired", ())]
    transports = [transport for each in protocols if (transport := getattr(each, "transport", None)) is not None]
    vars(connector)["_closed"] = True
    for transport in transports:
        _close_socket(transport)


def _close_socket(transport: object) -> None:
    """Close the socket of a transport whose loop was closed, so that asyncio does not find it open later."""
    if protocol := getattr(transport, "_ssl_protocol", None):
        vars(transport)["_closed"] = True
        transport = getattr(protocol, "_transport", None)
    found: socket.socket | None = getattr(transport, "_sock", None)
    if found is not None:
        vars(transport)["_sock"] = None
        found.close()
