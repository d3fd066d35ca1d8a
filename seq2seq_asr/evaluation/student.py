"""Student's t distribution, for what few speakers or seeds can tell (Student, Biometrika 6, 1908).

A two-sided p-value is the regularised incomplete beta function I_x(d / 2, 1 / 2) at x = d / (d + t²) (M. Abramowitz and
I. Stegun, "Handbook of Mathematical Functions", 26.7.1). mpmath, which torch needs too, has it. SciPy has more, but its
mere presence makes every training start two seconds later: torchmetrics imports what it finds of it.
"""

_OUTSIDE = 0.05
"""What lies outside a 95 % interval, on both sides together."""
_MANY, _FAR = 200, 40
"""Degrees of freedom and t beyond which a p-value is less than 1e-94, and mpmath's series are slow or fail."""


def two_sided(t: float, degrees: float) -> float:
    """How often ``|T|`` is at least ``|t|``, for Student's T with ``degrees`` > 0 of freedom, whole or not."""
    import mpmath

    if degrees >= _MANY and abs(t) > _FAR:
        return 0.0
    # Floats are ten times as fast, and overflow beyond some hundred degrees.
    numbers = mpmath.fp if degrees < _MANY else mpmath.mp
    return float(numbers.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t**2), regularized=True))


def critical(degrees: float) -> float:
    """The t > 0 that ``|T|`` exceeds in 5 of 100 draws: half the width of a 95 % interval, in standard errors."""
    import mpmath

    return float(mpmath.fp.findroot(lambda t: two_sided(t, degrees) - _OUTSIDE, (2.0, 2.5)))
