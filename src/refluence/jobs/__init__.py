"""Jobs: an arm and a seed on a dataset, made, judged, compared, estimated, repeated. What the command line and Python share."""
