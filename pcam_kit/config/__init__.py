"""Typed configuration: the schema and how files become it."""
