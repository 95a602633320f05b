"""Embedding classes for other frameworks, built on a `ClientSpec`. Each module needs the extra of its name."""
