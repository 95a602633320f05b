"""Decides what an error means, and what to send, when and how much. Nothing here does I/O or waits."""
