"""What turns the raw examples of a modality into the fields of a model, and back for people."""
