"""Sources, transforms, plans and the pipeline: from stored examples to batches on the device."""
