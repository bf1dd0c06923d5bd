"""Whisper's transcription: windows of sound to tokens, segments and words with times."""
