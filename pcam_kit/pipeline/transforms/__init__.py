"""The transforms of `augment.transforms`: ours for whole batches, others of albumentations."""
