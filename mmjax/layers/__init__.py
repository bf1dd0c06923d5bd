"""Mathematics shared by three models or more; no flags for a single model."""
