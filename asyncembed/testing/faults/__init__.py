"""Faults: small frozen values that a `FakeServer` uses as replies.

    server.script += [faults.Reset(after=3), faults.TooManyRequests("seconds", wait=0.1)]   # the next two requests
    server.rules.append(faults.Poisoned("a bad text"))                          # every request that holds this text
    server.rules.append(faults.ServiceError(service="gemini", meaning="key"))   # Gemini's answer to a wrong key
    server.default = Chaos(seed=7, share=0.2)                                   # a random fault for 20 % of requests

Your own fault is any coroutine function that takes an `Exchange`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._public import publish
from asyncembed.testing.faults._breaks import (
    CutOff,
    Drip,
    Garbage,
    NoAnswer,
    Refuse,
    Reset,
    ResetInHead,
    Stall,
    Truncated,
)
from asyncembed.testing.faults._contents import (
    ErrorInside,
    OtherDimension,
    Shuffled,
    WrongBase64,
    WrongCount,
    WrongIndex,
    WrongVector,
)
from asyncembed.testing.faults._floods import GzipBomb, HugeBody, HugeHeader
from asyncembed.testing.faults._refusals import Html, Poisoned, Redirect, Refused, TooLarge
from asyncembed.testing.faults._service_error import KNOWN_ERRORS, ServiceError
from asyncembed.testing.faults._waits import BOGUS_SECONDS, QuotaUsedUp, TooManyRequests

if TYPE_CHECKING:
    from asyncembed.testing._exchange import Reply

TRANSIENT: Final[tuple[Reply, ...]] = (
    Refuse(),
    Refuse(reset=False),
    ResetInHead(),
    Reset(),
    CutOff(),
    Truncated(),
    Garbage(),
    Html(),
    ErrorInside(),
    Refused(500),
    Refused(503),
    TooManyRequests(),
    TooManyRequests("seconds", wait=0.001),
    TooManyRequests("milliseconds", wait=0.001),
)
"""Quick faults that a retry gets past."""

__all__ = [
    "BOGUS_SECONDS",
    "KNOWN_ERRORS",
    "TRANSIENT",
    "CutOff",
    "Drip",
    "ErrorInside",
    "Garbage",
    "GzipBomb",
    "Html",
    "HugeBody",
    "HugeHeader",
    "NoAnswer",
    "OtherDimension",
    "Poisoned",
    "QuotaUsedUp",
    "Redirect",
    "Refuse",
    "Refused",
    "Reset",
    "ResetInHead",
    "ServiceError",
    "Shuffled",
    "Stall",
    "TooLarge",
    "TooManyRequests",
    "Truncated",
    "WrongBase64",
    "WrongCount",
    "WrongIndex",
    "WrongVector",
]

publish(__name__, [globals()[name] for name in __all__])
