"""Make `wordnet-glosses.jsonl.gz`: 10,000 common English words, each with its WordNet 3.0 definition.

    python examples/data/make_wordnet_glosses.py /usr/share/wordnet examples/data/wordnet-glosses.jsonl.gz

The folder is WordNet's database (Debian: `apt install wordnet-base`), in the format of `wndb(5WN)`. The output has one
row per headword, in alphabetical order: `{"id": "cat", "text": "feline mammal usually having thick soft fur ..."}`. Of
the senses of a word, the script keeps only the most frequent one.

To find common words, the script adds two counts. WordNet counts how often a sense occurs in texts tagged by hand, but
there are few of these (`volcano` occurs once). So the script also counts the definitions, examples and compounds that
use the word.
"""

import argparse
import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Mostly nouns, because people mostly look up nouns by a description.
QUOTAS = {"noun": 7_500, "verb": 1_300, "adj": 1_000, "adv": 200}

# The first digit of a sense key is its part of speech; 5 is a satellite adjective, which belongs to another one.
PART_OF_KEY = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}

# No numerals, no single letters, no abbreviations with dots.
HEADWORD = re.compile(r"[A-Za-z][a-z]+(?:[ '-][A-Za-z][a-z]+)*")

# A demonstration should not return these words.
UNPLEASANT = re.compile(
    r"\b(?:slurs?|obscen\w+|offensive (?:name|term)|disparag\w+|derogatory|vulgar|pejorative)\b"
    r"|\b(?:genitals?|sexual intercourse|dark skin)\b"
)

# Definitions of one word, such as `bear: have` and `gain: obtain`, are too short to search for.
FEWEST_WORDS = 2


@dataclass(frozen=True, slots=True)
class Headword:
    """A word in one part of speech, described by its most frequent sense.

    Attributes:
        word: The word as it is written.
        part: Its part of speech.
        count: How often the word occurs in tagged texts, in any sense.
        sense_count: How often it occurs in this sense.
        gloss: Definition and examples of this sense.
    """

    word: str
    part: str
    count: int
    sense_count: int
    gloss: str

    @property
    def definition(self) -> str:
        """The gloss without its examples, which are quoted at its end."""
        return re.split(r'(?:^|[;:,]\s*)"', self.gloss, maxsplit=1)[0].strip(" ;:,")


def read_counts(folder: Path) -> dict[tuple[str, str], dict[int, int]]:
    """Read `cntlist.rev`: lemma and part of speech → sense number → number of occurrences."""
    counts: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for line in (folder / "cntlist.rev").read_text("ascii").splitlines():
        key, number, count = line.split()
        lemma, _, rest = key.partition("%")
        counts[lemma, PART_OF_KEY[rest[0]]][int(number)] = int(count)
    return counts


def read_synsets(folder: Path, part: str) -> dict[str, tuple[list[str], str]]:
    """Read `data.<part>`: offset → the words as they are written, and the gloss."""
    synsets = {}
    for line in (folder / f"data.{part}").read_text("utf-8").splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields, _, gloss = line.partition(" | ")
        offset, _, _, word_count, *rest = fields.split(" ")
        words = [re.sub(r"\(\w+\)$", "", word) for word in rest[: 2 * int(word_count, 16) : 2]]
        synsets[offset] = words, gloss.strip()
    return synsets


def read_headwords(folder: Path, part: str, counts: dict[tuple[str, str], dict[int, int]]) -> Iterator[Headword]:
    """Read `index.<part>`: every word with its most frequent sense, which comes first there."""
    synsets = read_synsets(folder, part)
    for line in (folder / f"index.{part}").read_text("utf-8").splitlines():
        if line.startswith("  "):
            continue
        lemma, _, sense_total, *_ = fields = line.split()
        words, gloss = synsets[fields[-int(sense_total)]]
        spelling = next((word for word in words if word.lower() == lemma), lemma).replace("_", " ")
        occurrences = counts.get((lemma, part), {})
        headword = Headword(spelling, part, sum(occurrences.values()), occurrences.get(1, 0), gloss)
        if HEADWORD.fullmatch(spelling) and len(headword.definition.split()) >= FEWEST_WORDS:
            yield headword


def count_uses(headwords: list[Headword]) -> Counter[str]:
    """Count the glosses and compounds that use a word; a plural counts for its singular, too."""
    texts = {text.lower() for headword in headwords for text in (headword.gloss, headword.word)}
    uses = Counter(word for text in texts for word in set(re.findall("[a-z]+", text)))
    return Counter({word: count + uses[word + "s"] for word, count in uses.items()})


def pick(headwords: list[Headword]) -> list[Headword]:
    """Pick the most common words of each part of speech.

    A word with two parts of speech goes to the one in which it clearly occurs more often.
    """
    chosen: dict[str, Headword] = {}
    for headword in headwords:
        rival = chosen.get(headword.word.lower())
        # Small counts prove little (`telescope` occurs once, as a verb), so the earlier part, the noun, has a lead.
        if rival is None or headword.sense_count > 2 * rival.sense_count + 3:
            chosen[headword.word.lower()] = headword
    shunned = {headword.word.lower() for headword in headwords if UNPLEASANT.search(headword.gloss)}
    uses = count_uses(headwords)
    ranked = sorted((h for w, h in chosen.items() if w not in shunned), key=lambda h: (-h.count - uses[h.word], h.word))
    return [h for part, quota in QUOTAS.items() for h in [h for h in ranked if h.part == part][:quota]]


def write(headwords: list[Headword], path: Path) -> None:
    """Write the rows in alphabetical order; the header holds no time, so every run writes the same bytes."""
    rows = sorted(headwords, key=lambda h: (h.word.lower(), h.word))
    lines = "".join(json.dumps({"id": h.word, "text": h.definition}, ensure_ascii=False) + "\n" for h in rows)
    path.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))


def main() -> None:
    """Read WordNet and write the file."""
    parser = argparse.ArgumentParser(description="Pick 10,000 common words with their WordNet definitions.")
    parser.add_argument("wordnet", type=Path, help="WordNet's database folder, as /usr/share/wordnet")
    parser.add_argument("output", type=Path, help="the .jsonl.gz to write")
    arguments = parser.parse_args()
    counts = read_counts(arguments.wordnet)
    headwords = [h for part in QUOTAS for h in read_headwords(arguments.wordnet, part, counts)]
    picked = pick(headwords)
    write(picked, arguments.output)
    print(
        f"{len(picked):,} of {len(headwords):,} words → {arguments.output} ({arguments.output.stat().st_size:,} bytes)"
    )


if __name__ == "__main__":
    main()
