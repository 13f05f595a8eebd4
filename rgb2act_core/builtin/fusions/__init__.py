"""Fusions of several backbones' tokens."""
