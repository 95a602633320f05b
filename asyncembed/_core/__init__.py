"""One stream, from texts to results."""
