"""From a picture to a mesh: reading, preprocessing, the predictor, its results and their drawings."""
