"""Views into a forecaster: gradients by lag, speed of its parts, ensemble weights."""
