"""Texts with places in which other modalities stand."""
