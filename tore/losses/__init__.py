"""Loss terms (keypoints, vertices, surface, tokens) and their weighted sum."""
