"""From stored patches to training batches: crop, augment, shuffle, prefetch."""
