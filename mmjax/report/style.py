"""The looks and the words of report.html: its style sheet, and what the numbers in it mean."""

# Last segment of a metric's or picture's path (pattern, name, meaning); \1 is its number.
EXPLANATIONS = (
    (r"r1", "R@1", "share of queries whose first answer is right"),
    (r"r(\d+)", r"R@\1", r"share of queries with a right answer among the first \1"),
    (r"median_rank", "median rank", "place of the first right answer, median; 1 is best"),
    (r"top1", "top-1 accuracy", "share of examples whose best class is right"),
    (r"top(\d+)", r"top-\1 accuracy", r"share of examples whose class is among the best \1"),
    (r"per_class", "accuracy per class", "top-1 accuracy averaged over classes"),
    (r"wer", "word error rate", "words put in, left out or replaced, over words said; 0 is best"),
    (r"cer", "character error rate", "the same of characters; 0 is best"),
    (r"strips", "strips of frames", "Time runs to the right; the bars say where in it was looked."),
    (r"made_up", "made up", "What was visible of some clips, and what was made of it."),
    (r"moving", "as it moves", ""),
    (r"below_mean", "below the mean", "Squared error saved, beside each tubelet's own mean."),
    (r"transcripts", "transcripts", "What was said, and below it what the model heard."),
    (r"accuracy", "accuracy", "share of right answers"),
    (r"exact_match", "exact match", "share of texts that are right word for word"),
    (r"cider_d", "CIDEr-D", "runs of words shared with the references, rare ones counting more"),
    (r"bleu(\d)", r"BLEU-\1", r"runs of up to \1 words shared with the references; 100 is best"),
    (r"f1", "F1", "harmonic mean of precision and recall"),
    (r"perplexity", "perplexity", "choices between which a token is open, on average; 1 is best"),
    (r"captions", "captions", "What the references say and what the model wrote."),
    (r"answers", "answers", "The right answers and what the model answered."),
    (r"attention", "attention", "Light and warm: where the model looked when it chose the word."),
    (r"loss", "loss", "the training objective; lower is better"),
    (r"examples_per_second", "examples per second", ""),
    (r"image_to_text", "image to text", "Fixed held-out pictures, the five nearest texts of each."),
    (r"text_to_image", "text to image", "Fixed held-out texts, the five nearest pictures of each."),
    (r"similarity", "similarity", "Right pairs lie on the diagonal, which should stand out most."),
    (r"confusion", "confusion", "Right answers lie on the diagonal."),
)

DARK_PAPER = (13, 17, 23)  # of the page and of sheets, #0d1117

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2328; --muted: #59636e; --line: #d8dee4;
  --soft: #f6f8fa; --link: #2f6db3; --chance: #7d5fa8; --baseline: #c2662d; --low: #c93c37;
  --s0: #2f6db3; --s1: #c2662d; --s2: #3f8f6b; --s3: #8a5a9e; --s4: #9a8420; --s5: #5f6b76; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --muted: #9198a1;
  --line: #30363d; --soft: #161b22; --link: #6aa5e8; --chance: #b69be0; --baseline: #e59560;
  --low: #f47067; --s0: #6aa5e8; --s1: #e59560; --s2: #6cc49a; --s3: #c293d6; --s4: #d1ba4e;
  --s5: #9aa5b1; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 14px; font-weight: 600; margin: 0; } p { margin: 0; }
header p { color: var(--muted); }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 12px; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
small, figcaption, i { color: var(--muted); font-style: normal; font-size: 13px; }
table { border-collapse: collapse; }
td, th { text-align: left; vertical-align: top; padding: 6px 16px 6px 0; font-weight: 400; }
tr + tr td { border-top: 1px solid var(--line); }
th { color: var(--muted); font-size: 13px; }
table.result { width: 100%; }
.group th { color: var(--ink); font-size: 15px; font-weight: 600; padding-top: 18px; }
.result tr:first-child th { padding-top: 0; }
.result td:first-child { width: 40%; }
.result small { display: block; line-height: 1.35; }
.value { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.result td.value { font-weight: 600; width: 90px; }
.facts { margin-top: 16px; } .facts .value { white-space: normal; overflow-wrap: anywhere; }
.rest { margin-top: 20px; } .rest[open] > summary { margin-bottom: 14px; }
.cards { display: grid; gap: 16px; margin-bottom: 24px;
  grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr)); }
.card { padding: 14px 16px; border: 1px solid var(--line); border-radius: 8px; }
.large { font-size: 30px; line-height: 1.25; font-weight: 600; margin-top: 2px;
  font-variant-numeric: tabular-nums; }
.large small { font-size: 15px; font-weight: 400; }
.bar { position: relative; height: 8px; margin: 8px 6px 6px 0; border-radius: 4px;
  background: var(--line); }
.fill { height: 8px; border-radius: 4px; background: var(--s0); }
.fill.low { background: var(--low); }
.bar u { position: absolute; top: -3px; height: 14px; border: solid var(--ink);
  border-width: 0 1px; } .bar u::before { content: ""; display: block; margin-top: 6px;
  height: 2px; background: var(--ink); }
.bar b { position: absolute; top: -4px; width: 4px; height: 16px; margin-left: -2px;
  border-radius: 1px; box-shadow: 0 0 0 1px var(--paper); }
b.chance, s.chance { background: var(--chance); }
b.baseline, s.baseline { background: var(--baseline); }
s { display: inline-block; width: 4px; height: 11px; margin-right: 5px; border-radius: 1px; }
.against { display: inline-block; margin-right: 14px; font-variant-numeric: tabular-nums;
  font-size: 14px; }
.worse { display: inline-block; color: var(--low); font-weight: 600; font-size: 14px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(310px, 100%), 1fr));
  gap: 28px 24px; margin-top: 16px; }
figure { margin: 0 0 24px; min-width: 0; } .charts figure { margin: 0; display: flex;
  flex-direction: column; justify-content: space-between; }
figcaption { padding: 6px 0; }
.chart figcaption b { color: var(--ink); font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 0 14px; font-variant-numeric: tabular-nums; }
.legend span { white-space: nowrap; } .legend i { display: inline-block; width: 12px; height: 3px;
  margin: 0 1px 3px 0; border-radius: 1px; } .legend .dashes { height: 0; margin-bottom: 4px;
  border-top: 1.5px dashed var(--muted); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr));
  gap: 8px 24px; align-items: start; }
.figures figure:has(.zoom[open]) { grid-column: 1 / -1; }
.zoom { position: relative; }
.zoom > summary { list-style: none; cursor: zoom-in; overflow-x: auto; }
.zoom > summary::after { content: attr(data-label); position: absolute; right: 0; top: 100%;
  padding-top: 6px; font-size: 13px; color: var(--link); }
.zoom[open] > summary::after { content: none; } .zoom + figcaption { padding-right: 64px; }
.zoom > summary::-webkit-details-marker { display: none; }
.zoom[open] > summary { cursor: zoom-out; }
img { max-width: 100%; height: auto; border-radius: 6px; border: 1px solid var(--line);
  display: block; }
audio, video { width: 100%; max-width: 480px; display: block; }
svg { width: 100%; display: block; overflow: visible; }
svg text { font: 10.5px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  fill: var(--muted); }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--line); fill: none; }
svg .line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
svg .dashed { stroke-width: 1.1; stroke-dasharray: 4 3; }
.strip { display: flex; gap: 12px; overflow-x: auto; padding: 12px 0; }
.strip figure { flex: 0 0 min(320px, 70vw); margin: 0; }
.wide { overflow-x: auto; }
summary { cursor: pointer; color: var(--muted); }
pre { margin: 8px 0; padding: 12px; border-radius: 6px; background: var(--soft); overflow-x: auto;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
img.small { image-rendering: pixelated; }
@media (min-width: 601px) { #glance .zoom > summary::after { content: none; } }
@media (max-width: 600px) { main { padding: 16px 14px 48px; } td, th { padding-right: 10px; }
  .result, .result tbody { display: block; } .result tr { display: grid;
  grid-template-columns: 1fr auto; padding: 6px 0; } .result tr + tr:not(.group) {
  border-top: 1px solid var(--line); } .result tr.group { border: 0; } .result tr td { border: 0;
  padding: 0; } .result tr td:first-child, .result tr td.value { width: auto; }
  .result td:last-child { grid-column: 1 / -1; }
  .zoom[open] img { width: 860px; max-width: none; } }
@media print { nav { display: none; } }
"""
