"""The store: content keys, atomic files, stage folders and zarr groups."""
