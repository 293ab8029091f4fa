"""The lab (TNM112, lab 2): a CNN's forward pass in NumPy, and learning from few digits."""
