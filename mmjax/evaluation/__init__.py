"""Evaluators: a data set of predictions to exact numbers, baselines beside them, and pictures."""
