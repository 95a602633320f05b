"""Bytes and vectors: transport, scanner, response parser, number decoding."""
