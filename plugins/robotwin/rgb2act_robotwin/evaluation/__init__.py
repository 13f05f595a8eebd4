"""RoboTwin's own evaluation: deploy a policy into it, serve it, write its result files."""
