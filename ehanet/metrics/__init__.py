"""Scores of segmentations: overlap, boundaries, saliency, thresholds, and statistics over images."""
