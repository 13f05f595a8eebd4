"""Backbone features: encoding, extraction in parallel, token formats, fingerprints and reading."""
