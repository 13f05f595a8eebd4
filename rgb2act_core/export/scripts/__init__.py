"""Scripts that are copied into exported folders; they do not import rgb2act."""
