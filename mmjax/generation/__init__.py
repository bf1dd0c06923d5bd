"""Decoding and diffusion samplers (empty until the first model that generates moves in)."""
