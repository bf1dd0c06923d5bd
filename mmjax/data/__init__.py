"""The engine: sources, plans, batching and the pipeline, from examples to batches on the device."""
