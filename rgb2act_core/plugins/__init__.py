"""Components, hooks and the registry of installed plugins."""
