"""What raw data are read from: folders and zips, HDF5 files, CSV tables."""
