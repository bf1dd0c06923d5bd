"""Text <-> ids. No jax in this room."""
