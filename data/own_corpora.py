"""Corpora of your own, in addition to the seven: docs/adding-a-corpus.md says how to define one."""

CORPORA = []
