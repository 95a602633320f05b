"""Embeddings of other frameworks, made of a `ClientSpec`; each module needs the extra of its name."""
