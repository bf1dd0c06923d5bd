"""From options to parts: assembly, work directory, restore, warm start, evaluations."""
