"""Bytes and vectors: transport, array cutter, response parser, number decoding."""
