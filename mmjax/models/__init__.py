"""One architecture per file; each ends with Config, Model and VARIANTS (one row per size)."""
