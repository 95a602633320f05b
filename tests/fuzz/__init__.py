"""A fuzzer of the way from bytes to vectors: scanner, parser and vector decoding, judged by `json.loads`.

`python -m tests.fuzz --cases 5000000 --processes 2` runs as many cases as wanted, the same ones in any number of
processes; a case is brought back by its seed and number.
"""
