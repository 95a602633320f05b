"""The verbs that are awaited: everything at once, for a function, and into a file.

What only one of them needs is imported when it is called, as most programs call only one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Unpack, overload

from asyncembed._models import EmbedInput
from asyncembed._options import for_query
from asyncembed._settings import check, check_count
from asyncembed._streams import Streams, check_raise_or_skip
from asyncembed.pipeline._run import Run
from asyncembed.pipeline._source import check_texts
from asyncembed.pipeline._stream import EmbedStream

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import Callable, Sequence

    from asyncembed._callback import Callback
    from asyncembed._check import CheckResult
    from asyncembed._models import EmbedResponse, Matrix, RunSummary, Vector
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._settling import Item
    from asyncembed.pipeline._source import Texts
    from asyncembed.sinks import FormatName


class Verbs(Streams):
    """All verbs of a client. They take the same texts and `**options`; `embed_stream` describes the texts."""

    async def embed(self, texts: Texts, **options: Unpack[EmbedOptionsArgs]) -> EmbedResponse:
        """Embed all texts and return their vectors as one array of shape (n, dimension), in the order of the texts.

        Texts and options are those of `embed_stream`.

        Raises:
            AsyncEmbedError: if a text cannot be embedded; `indices` of the error says which.
        """
        from asyncembed._collect import collect  # noqa: PLC0415

        run = Run(self._call(options, "raise"), texts, ordered=False, as_blocks=True, withholds=True)
        return await collect(texts, EmbedStream(run, self._adopt), run)

    @overload
    async def embed_query(self, texts: str | EmbedInput, **options: Unpack[EmbedOptionsArgs]) -> Vector: ...

    @overload
    async def embed_query(self, texts: Texts, **options: Unpack[EmbedOptionsArgs]) -> Matrix: ...

    async def embed_query(
        self, texts: str | EmbedInput | Texts, **options: Unpack[EmbedOptionsArgs]
    ) -> Vector | Matrix:
        """Embed what is searched for: a text to a vector of shape (dimension,), texts to an array (n, dimension).

        It asks for `input_type="query"` where the provider tells queries from documents. Options are those of
        `embed_stream`.

        Raises:
            AsyncEmbedError: if a text cannot be embedded; `indices` of the error says which.
        """
        asked = for_query(self.provider, options)
        if isinstance(texts, str | EmbedInput):
            vector: Vector = (await self.embed([texts], **asked)).embeddings[0]
            return vector
        return (await self.embed(texts, **asked)).embeddings

    async def check(self, **options: Unpack[EmbedOptionsArgs]) -> CheckResult:
        """Ask for one harmless text, to see whether key, model and options are right before anything larger is sent.

        It is billed as any other text. Options are those of `embed_stream`.

        Raises:
            AsyncEmbedError: if the API does not take it; the class says whether it is the key, the model or the quota.
        """
        from asyncembed._check import check  # noqa: PLC0415

        return await check(self._call(options, "raise"), self._adopt)

    async def dimension(self, **options: Unpack[EmbedOptionsArgs]) -> int:
        """Return the length of the vectors: as it is known, and otherwise by `check`.

        Raises:
            AsyncEmbedError: if it is not known and the API does not take a harmless text.
        """
        known = self._call(options, "raise").known_dimension
        return known or (await self.check(**options)).dimension

    async def embed_with_callback(
        self,
        texts: Texts,
        callback: Callback,
        *,
        callback_concurrency: int = 1,
        ordered: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Call `callback(embedding, index)`, or `callback(result)` if it takes one argument, for every text.

        Texts and options are those of `embed_stream`.

        Args:
            texts: The texts.
            callback: A plain function, which is called on the event loop, or an async one.
            callback_concurrency: Most calls of an async callback at once.
            ordered: Whether the calls begin in the order of the texts, or as results arrive.
            on_error: "raise", or "skip" texts that cannot be embedded and count them.
            **options: See `EmbedOptionsArgs`.

        Returns:
            How the run went.

        Raises:
            Exception: what the callback raised, as it is; it stops the run.
            AsyncEmbedError: if a text cannot be embedded, after the calls for the texts before it.
        """
        from asyncembed._callback import call_back  # noqa: PLC0415

        check_count("callback_concurrency", callback_concurrency)
        check_raise_or_skip(on_error)
        run = Run(self._call(options, on_error), texts, ordered=ordered)
        return await call_back(EmbedStream(run, self._adopt), callback, callback_concurrency)

    async def embed_to_file(
        self,
        texts: Texts,
        output_file: str | os.PathLike[str],
        *,
        resume: bool = False,
        overwrite: bool = False,
        keep_text: bool = True,
        format: FormatName | None = None,  # noqa: A002  # as numpy, pandas and pyarrow call it
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: Callable[[RunSummary], None] | None = None,
        stop: asyncio.Event | None = None,
        stop_wait: float = 10.0,
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Write the vectors of all texts into one file, in their order; it gets its name when it is whole.

        Until then what has arrived lies in the folder `OUTPUT_FILE.partial`, in the order in which it came, safe from
        crashes and power cuts. A run that was ended by anything goes on with `resume=True`, and asks only for what
        did not arrive. While the file is made of the folder at the end, it takes twice its size on the disk; only a
        `.npy` whose vectors arrived in the order of the texts is not written again.

        Beside the file lies `OUTPUT_FILE.run.json`, which says what all runs took: requests, retries, tokens, seconds,
        and the texts that failed. The summary sums up all runs, too.

        Args:
            texts: The texts; to resume, the same ones again.
            output_file: The file: .npy, .npz, .arrow (Arrow IPC), .parquet or .jsonl.
            resume: Whether to go on with what an earlier run left. If there is nothing, the run begins, and if the
                file is whole already and of these texts, nothing is done; so a script may always pass it.
            overwrite: Whether to replace the file if it exists, and what an earlier run left of it.
            keep_text: Whether the file holds the texts beside ids and vectors.
            format: "npy", "npz", "arrow", "parquet" or "jsonl", where the suffix does not say it.
            on_error: "raise", or "skip" texts that cannot be embedded: they have no row, and are counted.
            on_progress: Called on the event loop a few times a second, and at the end, with how the run stands.
            stop: Set it to end the run early: it sends nothing more, takes what is in flight, as that is paid for, and
                raises `StreamClosedError`. A task that is cancelled waits for nothing, but keeps what has arrived.
            stop_wait: Most seconds to wait for what is in flight then.
            **options: See `EmbedOptionsArgs`.

        Returns:
            How the run went; `saved` is how many rows the file has. If that is none, no file was made.

        Raises:
            ConfigurationError: if the file exists or cannot be written, or an option is wrong; nothing was sent.
            ResumeError: if what an earlier run left is of other texts, another model or other options.
            OSError: if the disk is full, or the folder has gone; what was safe before stays so.
            AsyncEmbedError: if a text cannot be embedded, or the run was stopped; what has arrived stays safe.
        """
        from asyncembed._settling import MAX_READY  # noqa: PLC0415
        from asyncembed._target import Target  # noqa: PLC0415
        from asyncembed._to_file import FileRun  # noqa: PLC0415

        check_raise_or_skip(on_error)
        check_texts(texts)
        target = Target.of(output_file, format, resume=resume, overwrite=overwrite, keep_text=keep_text)
        target.check_apart(options.get("dead_letter"))
        call = self._call(options, on_error)
        # They are written when they are settled, and not when they may be asked for again.
        of_stream = replace(call, dead_letters=None)

        def open_stream(rest: Texts, first: int, gaps: Sequence[tuple[int, EmbedInput]]) -> EmbedStream[Item]:
            run = Run(
                of_stream,
                rest,
                ordered=False,
                first=first,
                gaps=gaps,
                as_blocks=True,
                most_ready=MAX_READY,
                withholds=True,
                settling=True,
            )
            return EmbedStream(run, self._adopt)

        check(stop_wait >= 0, f"stop_wait={stop_wait!r} must be 0 or more")
        run = FileRun(call, texts, target, open_stream, on_progress, stop=stop, stop_wait=stop_wait)
        return await run.complete()
