"""Read LeRobotDatasets of the formats v2.0, v2.1 and v3.0 where they are."""
