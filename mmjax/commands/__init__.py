"""The verbs of the command line and the notebook: each an Options and a run(options)."""
