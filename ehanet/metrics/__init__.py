"""Scores of a segmentation, and their statistics."""
