"""The file that a run writes, and the provenance that it records there."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Self

from asyncembed._config import check
from asyncembed._exceptions import ConfigurationError
from asyncembed._repr import shown
from asyncembed.sinks import TOTALS_SUFFIX, Provenance, find_format, folder_of, open_output
from asyncembed.sinks._provenance import digest_of_fields

if TYPE_CHECKING:
    import os

    from asyncembed._core.call import Call
    from asyncembed.sinks import Format, FormatName, Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The checked arguments of `embed_to_file` that are about the file."""

    path: Path
    kind: Format
    resume: bool
    overwrite: bool
    keep_text: bool

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str],
        name: FormatName | None,
        *,
        resume: bool,
        overwrite: bool,
        keep_text: bool,
    ) -> Self:
        """Return the target. Raises `ConfigurationError` if the path or the format is wrong."""
        is_path = isinstance(path, str) or (isinstance(path, PathLike) and isinstance(path.__fspath__(), str))
        check(is_path, f"output_file={shown(path)} must be a str or a path")
        found = Path(path).absolute()
        kind = find_format(found, name)
        return cls(path=found, kind=kind, resume=resume, overwrite=overwrite, keep_text=keep_text)

    def validate_distinct(self, dead_letter: str | os.PathLike[str] | None) -> None:
        """Raise `ConfigurationError` if the dead letter file is one of the files that the run writes."""
        if not isinstance(dead_letter, str | PathLike):
            return
        own = Path(dead_letter).resolve()
        made = {Path(f"{self.path}{ending}").resolve() for ending in ("", *self.kind.sidecars, TOTALS_SUFFIX)}
        if own in made or folder_of(self.path).resolve() in (own, *own.parents):
            raise ConfigurationError(f"dead_letter={str(dead_letter)!r} is part of {self.path}; choose another name")

    def claim(self, provenance: Provenance, total: int | None) -> Output:
        """Claim the file for this run; see `open_output`."""
        return open_output(self.path, self.kind, provenance, resume=self.resume, overwrite=self.overwrite, total=total)


def provenance_of(call: Call, *, keep_text: bool) -> Provenance:
    """Return the provenance of the vectors of a call."""
    options = call.options
    cuts = options.long_text == "truncate"
    return Provenance(
        provider=call.endpoint.provider.name,
        model=options.model,
        dtype=options.dtype,
        input_type=options.input_type,
        dimensions=options.dimensions or options.cut_to,
        truncate=options.truncate,
        long_text=options.long_text if cuts else None,
        max_text_tokens=call.max_text_tokens if cuts else None,
        extra=digest_of_fields(options.extra),
        prompt=options.prompt or None,
        shorten="client" if options.cut_to else None,
        normalize=options.normalize or None,
        keep_text=keep_text,
        base_url=call.endpoint.address,
    )


def identity_of(call: Call) -> bytes:
    """Return a digest of everything that shapes a vector besides its text, for the cache and equal texts.

    It includes what may choose the model at the server. The provenance in a file does not, because a file can go on
    with another address or other headers.
    """
    return provenance_of(call, keep_text=False).digest + call.endpoint.route_digest
