"""Numbers as people read them: three digits, durations, rates with their units."""

import math

Real = float | int

FLOPS = ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"))


def number(value: Real) -> str:
    """Three digits, with an exponent only where zeros would hide them: 0.541, 93, 2.5e-6."""
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def duration(seconds: Real) -> str:
    """45 ms, 3.2 s, 7 min 11 s, 2 h 2 min; "?" of what is no time."""
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    if 0 < seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def is_time(key: str) -> bool:
    """Whether a number's name says that it is one of seconds."""
    return key == "seconds" or key.endswith("_seconds")


def with_unit(key: str, value: Real) -> str:
    """The value of a timing, by its name: step_seconds, flops_per_second, examples_per_second."""
    if is_time(key):
        return duration(value)
    if key == "flops_per_second":
        for size, unit in FLOPS:
            if value >= size:
                return f"{number(value / size)} {unit}"
        return f"{number(value)} FLOP/s"
    return f"{number(value)} /s" if key.endswith("_per_second") else number(value)


def is_number(value: object) -> bool:
    """Whether it is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
