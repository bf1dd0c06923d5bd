"""Who says what is to be seen in samples that were made, and how far apart two sets of them are."""
