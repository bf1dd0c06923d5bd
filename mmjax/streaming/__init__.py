"""Live audio: from samples as they come to words that never change, utterances and replies.

What equals the same sound in one piece, however it comes (tests/streaming holds each):

* exactly: the blocks and all that is made of them (confirmed words, utterances, times), voice
  activity, the log-mel features of a window, CTC's greedy reading of given logits;
* to rounding: frames of a network that sees a bounded span (`ctc.Frames`);
* not: what looks at the whole clip or both ways, such as the features of a longer clip (cut off
  below its own loudest frame), wav2vec 2.0's "group" norm and its blocks, Whisper's texts. How much
  of Whisper's words agree is measured: experiments/streaming.
"""
