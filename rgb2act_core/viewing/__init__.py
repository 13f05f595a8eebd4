"""Episodes and rollouts as recordings of the Rerun viewer."""
