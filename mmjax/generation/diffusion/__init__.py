"""Diffusion and flow: how much noise when, what a model says of it, and the ways back."""
