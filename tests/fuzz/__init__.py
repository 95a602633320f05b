"""A fuzzer for decoding bytes to vectors: splitter, parser and vector decoder, compared with `json.loads`.

`python -m tests.fuzz --cases 5000000 --processes 2` runs that number of cases. They do not depend on the number of
processes, and a seed and a number repeat a case.
"""
