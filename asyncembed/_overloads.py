"""The argument types of the overloads in `_client.py` and `_sync.py`, for type checkers.

Each verb that returns vectors has one overload per NumPy type, chosen by a literal `dtype=`. A last overload serves
options that are passed on, whose `dtype` is known only at run time. This module names the arguments that do not change
the type, so that an overload fits on one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from asyncembed._options import EmbedOptionsArgs, OptionsWithoutDtype

if TYPE_CHECKING:
    from asyncembed._config import RaiseOrSkip
    from asyncembed._progress import OnProgress


class ArgsWithoutDtype(OptionsWithoutDtype, TypedDict, total=False):
    """`EmbedOptionsArgs` without `dtype`."""

    max_memory_mb: float


class StreamArgs(ArgsWithoutDtype, TypedDict, total=False):
    """Arguments of `embed_stream` and `embed_large_dataset`, without `on_error` and `dtype`."""

    ordered: bool


class AnyStreamArgs(EmbedOptionsArgs, TypedDict, total=False):
    """The same with any `dtype`."""

    ordered: bool


class BlockArgs(StreamArgs, TypedDict, total=False):
    """Arguments of `embed_binary_stream`, without `format` and `dtype`."""

    on_error: RaiseOrSkip


class AnyBlockArgs(AnyStreamArgs, TypedDict, total=False):
    """The same with any `dtype`."""

    on_error: RaiseOrSkip


class CollectArgs(ArgsWithoutDtype, TypedDict, total=False):
    """Arguments of `embed`, without `dtype`."""

    on_error: RaiseOrSkip
    on_progress: OnProgress | None


class AnyCollectArgs(EmbedOptionsArgs, TypedDict, total=False):
    """The same with any `dtype`."""

    on_error: RaiseOrSkip
    on_progress: OnProgress | None


class CallbackArgs(BlockArgs, TypedDict, total=False):
    """Arguments of `embed_with_callback`, without `dtype`."""

    callback_concurrency: int


class AnyCallbackArgs(AnyBlockArgs, TypedDict, total=False):
    """The same with any `dtype`."""

    callback_concurrency: int
