"""Decisions without I/O: what an error answer means, and what follows from it."""
