"""Turns the bytes of a response into vectors. No I/O."""
