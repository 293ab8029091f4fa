"""How good a run is (`metrics`), how sure that is (`intervals`), against another (`comparison`),
and where to cut (`calibration`).
"""
