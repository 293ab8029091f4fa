"""How good a run is (`metrics`), and where to cut its probabilities (`calibration`)."""
