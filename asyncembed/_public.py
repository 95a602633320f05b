"""Public names say that they are from the package that users import them from, not from the private module.

Tracebacks, `repr`, pickles and documentation then show `asyncembed.RateLimitError`.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Final, ForwardRef

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = "asyncembed"


def publish(package: str, values: Iterable[object]) -> None:
    """Set `__module__` of the classes and functions among `values` to the public package that exports them.

    Values of other kinds, such as type aliases, stay as they are. A value that the root package exports belongs to it,
    even if a subpackage exports it, too. Pickles that name the private module can still be loaded.

    Args:
        package: Name of the package, such as "asyncembed.providers".
        values: What it exports.
    """
    for value in values:
        if isinstance(value, type | FunctionType) and value.__module__.startswith(f"{ROOT}."):
            if isinstance(value, type):
                _bind_annotations(value)
            value.__module__ = package


def _bind_annotations(kind: type) -> None:
    """Have annotations evaluated in the private module, whose imports they need, as `typing.get_type_hints` does."""

    def bound(annotation: object) -> object:
        if not isinstance(annotation, str):
            return annotation
        return ForwardRef(annotation, is_argument=False, module=module, is_class=True)

    module = kind.__module__
    if annotations := vars(kind).get("__annotations__"):
        kind.__annotations__ = {name: bound(annotation) for name, annotation in annotations.items()}
    for field in vars(kind).get("__dataclass_fields__", {}).values():
        field.type = bound(field.type)
