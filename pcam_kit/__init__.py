"""A toolkit for PatchCamelyon: fetch, train, evaluate, predict, submit."""

__version__ = "0.1.0"
