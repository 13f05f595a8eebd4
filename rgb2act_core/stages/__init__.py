"""The stages of a run: collect, extract, align, train and act, and their cache keys."""
