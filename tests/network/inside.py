"""Runs inside of a network namespace: `inside.py SCENARIO` embeds texts through a network that is broken by rules.

Prints what came of it as JSON, or fails. `inside.py try` only finds out whether rules can be set.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from contextlib import suppress

from asyncembed import EmbedClient, RetryPolicy, Timeouts
from asyncembed.testing import FakeServer, vector_of

COUNT, BATCH, DIMENSION = 1_200, 10, 64
PATIENT = RetryPolicy(max_attempts=40, initial_backoff=0.01, max_backoff=0.2)
SILENT = 1.5
"""Seconds without a word after which a connection is given up: shorter than the silence, longer than a lost packet."""


class Rules(ABC):
    """What is done to the packets of a port, either way.

    Attributes:
        met: Packets that it was done to, by rules that are gone.
    """

    met = 0

    @abstractmethod
    def lose(self, port: int, percent: int) -> None:
        """Drop so many packets."""

    @abstractmethod
    def reset(self, port: int, percent: int) -> None:
        """Answer so many packets with a reset, as if it came from the other side."""

    def mend(self) -> None:
        """Take the rules away."""
        self.met += self.count()
        self.clear()

    @abstractmethod
    def count(self) -> int:
        """Packets that the rules were about."""

    @abstractmethod
    def clear(self) -> None:
        """Begin without any."""


class Nft(Rules):
    """Rules by nft."""

    def lose(self, port: int, percent: int) -> None:
        self._add(port, percent, "drop")

    def reset(self, port: int, percent: int) -> None:
        self._add(port, percent, "reject with tcp reset")

    def count(self) -> int:
        return sum(map(int, re.findall(r"packets (\d+)", _run("nft", "list", "ruleset"))))

    def clear(self) -> None:
        _run("nft", "flush", "ruleset")
        _run("nft", "add table ip broken")
        _run("nft", "add chain ip broken way { type filter hook input priority 0; }")

    def _add(self, port: int, percent: int, what: str) -> None:
        chance = f"numgen random mod 1000 < {min(10 * percent, 999)}"
        for side in ("sport", "dport"):
            _run("nft", f"add rule ip broken way tcp {side} {port} {chance} counter {what}")


class Iptables(Rules):
    """Rules by iptables."""

    def lose(self, port: int, percent: int) -> None:
        self._add(port, percent, "DROP")

    def reset(self, port: int, percent: int) -> None:
        self._add(port, percent, "REJECT", "--reject-with", "tcp-reset")

    def count(self) -> int:
        lines = _run("iptables", "-L", "INPUT", "-v", "-x", "-n").splitlines()[2:]
        return sum(int(line.split()[0]) for line in lines if line.strip())

    def clear(self) -> None:
        _run("iptables", "-F", "INPUT")

    def _add(self, port: int, percent: int, *what: str) -> None:
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(percent / 100))
        for side in ("--sport", "--dport"):
            _run("iptables", "-A", "INPUT", "-p", "tcp", side, str(port), *chance, "-j", *what)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def prepare() -> Rules:
    """Bring up loopback, with packets as small as on a real line, and find what sets rules."""
    if not shutil.which("ip"):
        sys.exit("ip: not found")
    _run("ip", "link", "set", "lo", "mtu", "1500", "up")
    for program, rules in (("nft", Nft()), ("iptables", Iptables())):
        if shutil.which(program):
            rules.clear()
            return rules
    sys.exit("neither nft nor iptables is installed")


async def embed(rules: Rules, scenario: str) -> dict[str, int]:
    """Embed all texts while the network is broken, each exactly once."""
    texts = [f"text {number}" for number in range(COUNT)]
    timeouts = Timeouts(connect=SILENT, first_byte=SILENT, read=SILENT)
    async with (
        FakeServer(dimension=DIMENSION, latency=0.01) as server,
        EmbedClient("cohere", base_url=server.url, api_key="k", retry=PATIENT, timeouts=timeouts) as client,
        client.embed_stream(texts, chunk_size=BATCH) as stream,
    ):
        breaking = asyncio.create_task(SCENARIOS[scenario](rules, server.port))
        indices = []
        async for result in stream:
            indices.append(result.index)
            assert (result.embedding == vector_of(texts[result.index], DIMENSION)).all(), result.index
        breaking.cancel()
        with suppress(asyncio.CancelledError):
            await breaking
    assert indices == list(range(COUNT)), "not each exactly once"
    rules.mend()
    return {"hit": rules.met, "retries": stream.summary.retries, "requests": stream.summary.requests}


async def loss(rules: Rules, port: int) -> None:
    """Every twentieth packet is lost, either way."""
    rules.lose(port, 5)


async def resets(rules: Rules, port: int) -> None:
    """Now and then a packet is answered with a reset, and the other side never learns of it."""
    rules.reset(port, 4)


async def silence(rules: Rules, port: int) -> None:
    """In the middle of the run, nothing comes through any more for longer than is waited for."""
    await asyncio.sleep(0.1)
    rules.lose(port, 100)
    await asyncio.sleep(2 * SILENT)
    rules.mend()


SCENARIOS = {"loss": loss, "resets": resets, "silence": silence}

if __name__ == "__main__":
    found = prepare()
    if sys.argv[1] in SCENARIOS:
        print(json.dumps(asyncio.run(asyncio.wait_for(embed(found, sys.argv[1]), 60))))
