"""Progress, devices, processes and threads."""
