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
    (r"transcripts", "transcripts", "What was said, and below it what the model heard."),
    (r"loss", "loss", "the training objective; lower is better"),
    (r"examples_per_second", "examples per second", ""),
    (r"image_to_text", "image to text", "Fixed held-out pictures, the five nearest texts of each."),
    (r"text_to_image", "text to image", "Fixed held-out texts, the five nearest pictures of each."),
    (r"similarity", "similarity", "Right pairs lie on the diagonal, which should be the darkest."),
    (r"confusion", "confusion", "Right answers lie on the diagonal."),
)

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2328; --muted: #656d76; --line: #d8dee4;
  --soft: #f6f8fa; --s0: #2f6db3; --s1: #c2662d; --s2: #3f8f6b; --s3: #8a5a9e; --s4: #9a8420;
  --s5: #5f6b76; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --muted: #9198a1;
  --line: #30363d; --soft: #161b22; --s0: #6aa5e8; --s1: #e59560; --s2: #6cc49a; --s3: #c293d6;
  --s4: #d1ba4e; --s5: #9aa5b1; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid var(--line); }
header p { margin: 0; color: var(--muted); }
small, figcaption, i { color: var(--muted); font-style: normal; font-size: 13px; }
table { border-collapse: collapse; }
td, th { text-align: left; vertical-align: top; padding: 6px 16px 6px 0; font-weight: 400; }
tr + tr td { border-top: 1px solid var(--line); }
th { color: var(--muted); font-size: 13px; }
table.result { width: 100%; }
.group th { color: var(--ink); font-size: 15px; font-weight: 600; padding-top: 18px; }
.result td:first-child { width: 44%; }
.result small { display: block; line-height: 1.35; }
.value { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.result td.value { font-weight: 600; }
.facts, .rest { margin-top: 16px; } .facts .value { white-space: normal; overflow-wrap: anywhere; }
.bar { position: relative; height: 8px; max-width: 320px; margin: 8px 0 4px; border-radius: 4px;
  background: var(--line); }
.bar div { height: 8px; border-radius: 4px; background: var(--s0); }
.bar b { position: absolute; top: -3px; width: 2px; height: 14px; background: var(--s1); }
.baseline { display: inline-block; margin-right: 14px; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(310px, 100%), 1fr));
  gap: 24px 20px; }
figure { margin: 0 0 28px; } .charts figure { margin: 0; }
figcaption { padding: 6px 0; }
img { max-width: 100%; height: auto; border-radius: 6px; border: 1px solid var(--line);
  background: #fff; display: block; }
audio { width: 100%; max-width: 480px; display: block; }
svg { width: 100%; max-width: 420px; display: block; overflow: visible; }
svg text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
svg .title { font-size: 13px; font-weight: 600; fill: var(--ink); }
svg .small { fill: var(--muted); font-size: 10.5px; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--line); fill: none; }
svg .line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
svg .dashed { stroke-width: 1.1; stroke-dasharray: 4 3; }
.strip { display: flex; gap: 12px; overflow-x: auto; padding: 8px 0; }
.strip figure { flex: 0 0 min(420px, 80vw); margin: 0; }
.wide { overflow-x: auto; }
summary { cursor: pointer; color: var(--muted); }
details.tree { margin-top: 20px; } details.tree summary { color: var(--ink); font-size: 18px;
  font-weight: 600; }
pre { margin: 8px 0; padding: 12px; border-radius: 6px; background: var(--soft); overflow-x: auto;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media (max-width: 600px) { main { padding: 16px 14px 48px; } td, th { padding-right: 10px; }
  .result td:first-child { width: 40%; } .baseline { display: block; } svg { max-width: none; }
  .picture { overflow-x: auto; } .picture img { width: 760px; max-width: none; } }
"""
