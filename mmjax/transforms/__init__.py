"""From example to example: decoding, cropping, colours, mels, captions, token ids."""
