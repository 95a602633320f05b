"""Faults out of the table of errors that services are known to answer with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncembed.testing.faults import ServiceError

if TYPE_CHECKING:
    from asyncembed.testing import KnownError


def fault_of(known: KnownError, **options: object) -> ServiceError:
    """The fault that answers with this error; the options are those of `ServiceError`."""
    where = {"service": known.service, "meaning": known.meaning, "status": known.status, "form": known.form}
    return ServiceError(**where, **options)
