"""How good a run is, how certain that is, and which threshold turns its scores into classes.

The scores themselves are in `pcam_kit.metrics`; here are their intervals (`intervals`), comparisons
of two runs (`comparison`), thresholds and temperatures (`calibration`, `crossfit`), and ensembles
(`ensemble`).
"""
