"""Where the vectors of a file come from, as it is written into the file or beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import orjson
import yarl

from asyncembed._errors import ConfigurationError
from asyncembed._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from asyncembed._settings import Dtype

NUMPY_TYPES: Final[Mapping[Dtype, type[np.float32 | np.int8 | np.uint8]]] = {
    "float32": np.float32,
    "int8": np.int8,
    "uint8": np.uint8,
    "binary": np.int8,
    "ubinary": np.uint8,
}
"""Type of the numbers of each dtype; the last two hold 8 dimensions in each number."""

PACKED: Final = frozenset({"binary", "ubinary"})
"""The dtypes with 8 dimensions in each number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What is needed to embed a further text, such as a query, into the same space. It holds no key.

    Attributes:
        provider: Name of the provider.
        model: The provider's name of the model.
        dtype: Type of the vectors, as it was asked for.
        input_type: What the texts were said to be, None if nothing was said.
        dimensions: Length that was asked for, None if the model's own length was taken.
        base_url: Address of the server if it is not the provider's own, without user, password and query.
        dimension: Length of the vectors in dimensions; 0 before the first vector is known.
        version: Version of this package that wrote the file.
    """

    provider: str
    model: str
    dtype: Dtype = "float32"
    input_type: str | None = None
    dimensions: int | None = None
    base_url: str | None = None
    dimension: int = 0
    version: str = __version__

    @property
    def width(self) -> int:
        """Numbers in one vector: the dimension, or an eighth of it for packed bits."""
        return self.dimension // 8 if self.dtype in PACKED else self.dimension

    @property
    def number(self) -> npt.DTypeLike:
        """The numpy type of the numbers."""
        return NUMPY_TYPES[self.dtype]

    def to_json(self, **more: int) -> bytes:
        """Return this as JSON, with further numbers such as the count of rows."""
        return orjson.dumps({**asdict(self), **more}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_json(cls, text: bytes, source: str) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: The JSON.
            source: Where it was found, for the error.

        Raises:
            ConfigurationError: if it is something else.
        """
        known = {field.name for field in fields(cls)}
        try:
            given = {name: value for name, value in orjson.loads(text).items() if name in known}
            provenance = cls(**given)
            valid = provenance.dtype in NUMPY_TYPES and provenance.dimension > 0
        except (ValueError, TypeError, AttributeError):
            valid = False
        if not valid:
            raise ConfigurationError(f"{source} does not say which provider and model its vectors are from")
        return provenance


def without_secrets(url: str) -> str:
    """Return an address without what may be a secret: user, password, query and fragment."""
    return str(yarl.URL(url).with_user(None).with_query(None).with_fragment(None))
