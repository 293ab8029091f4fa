"""From raw competition files to the store: readers of layouts, split, copies, stain, synthesis."""
