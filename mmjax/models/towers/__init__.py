"""Towers that stand before a language model, and are no models by themselves."""
