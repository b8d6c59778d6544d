"""What rounding alone may do to outcomes: no difference below it is a finding."""

FLIP_RATE = 0.01
"""Share of outcomes that rounding (another device, another library version) may flip with the weights unchanged."""

COUNT_VARIANCE = 1 / 12
"""In images^2: a count of images is whole, so it never tells a smaller variance over seeds than this."""
