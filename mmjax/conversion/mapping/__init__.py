"""What the families are written with: names and layouts of tensors, fields of a config.json."""
