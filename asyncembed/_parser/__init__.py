"""Bytes of a response to vectors, without I/O."""
