"""Readers: a model file becomes a validated Graph."""
