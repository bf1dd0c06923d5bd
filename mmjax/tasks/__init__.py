"""A task ties a batch, a model and an objective together; `tasks/base.py` holds the contract."""
