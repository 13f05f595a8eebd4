"""The aligner, which maps RGB features into a point-cloud teacher's space, and its training."""
