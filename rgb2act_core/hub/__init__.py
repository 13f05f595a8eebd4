"""Policies in repositories of the Hugging Face hub: push a run's policy, pull it as a run.

Nothing from a repository is executed or unpickled. Weights are safetensors, everything else is
JSON, and components are looked up among the installed plugins.
"""
