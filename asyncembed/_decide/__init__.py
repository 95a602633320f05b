"""Pure decisions: what an error means, what to send, when and how much. Nothing here does I/O or waits."""
