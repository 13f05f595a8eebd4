"""RoboTwin's simulator, which runs in a worker process of its own interpreter."""
