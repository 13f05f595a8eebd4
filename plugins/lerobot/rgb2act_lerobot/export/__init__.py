"""Write episodes as a LeRobotDataset of format v3.0."""
