"""From raw competition files to the store: readers of each layout, the store, the split,
duplicates, made-up tissue.
"""
