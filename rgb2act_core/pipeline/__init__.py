"""Run the stages of a spec in order, and check, verify and re-evaluate runs."""
