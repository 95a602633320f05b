"""Score how well each text answers a question. The model runs on your machine: you need no key and no account.

Run it:

    pip install "asyncembed[local]"
    python examples/quickstart.py
"""

import asyncio

import numpy as np
import numpy.typing as npt

from asyncembed import EmbedClient

QUESTION = "How do I get my money back?"
TEXTS = [
    "Refunds are paid within five days of receiving the returned goods.",
    "Our office is closed on public holidays.",
    "You can choose a new password on the login page.",
    "Send the purchase back and we return what you paid.",
]


def cosine(one: npt.NDArray[np.number], other: npt.NDArray[np.number]) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


async def main() -> None:
    async with EmbedClient("local") as client:
        question = (await client.embed([QUESTION], input_type="query"))[0]
        print(QUESTION)
        async with client.embed_stream(TEXTS) as stream:
            async for result in stream:
                print(f"{cosine(question, result.embedding):6.2f}  {result.text}")


asyncio.run(main())
