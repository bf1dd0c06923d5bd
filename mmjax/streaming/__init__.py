"""Live audio: from samples as they come to words that never change, utterances and replies."""
