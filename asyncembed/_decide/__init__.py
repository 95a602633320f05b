"""Pure decisions: what to send, when and how much. Nothing here does I/O, waits or knows an event loop."""
