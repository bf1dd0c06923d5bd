"""Losses: arrays in, per-example values out. No batch dict, no config, no module, no reduction."""
