"""Blocks of U-Nets over pictures and videos, and of the autoencoders whose latents they work in."""
