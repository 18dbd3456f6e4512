"""Datasets: from the Hub to a dataset that GR00T and LeRobot read, with nothing silently wrong."""
