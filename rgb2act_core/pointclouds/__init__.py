"""pointclouds."""
