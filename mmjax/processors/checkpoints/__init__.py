"""What prepares the inputs of a checkpoint, from the files that lie beside its weights."""
