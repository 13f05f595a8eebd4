"""The policy: what it observes, its module, training samples, planning and saving."""
