"""From the tokens of a tower to what a language model reads in the place of words."""
