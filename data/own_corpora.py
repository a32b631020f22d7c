"""Corpora of your own, beside the seven: docs/adding-a-corpus.md says how to write one."""

CORPORA = []
