"""Formats of a user's own data and their index: manifests, folders, tars, Parquet, records."""
