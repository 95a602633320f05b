"""What asyncio does not offer of a connection: to reset it, and to see what of it has arrived."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from asyncio import StreamWriter


def hang_up(writer: StreamWriter, *, reset: bool) -> None:
    """Close a connection, politely or with a reset."""
    if reset:
        linger = struct.pack("ii", 1, 0)  # on, for no time
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()


def unacknowledged(writer: StreamWriter) -> int:
    """How many bytes the other side's operating system has not acknowledged yet; 0 where ours cannot tell."""
    if fcntl is None or writer.transport.is_closing():
        return 0
    answer = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)
