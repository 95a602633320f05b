"""What may start and when: memory budget, adaptive concurrency, pauses, retries."""
