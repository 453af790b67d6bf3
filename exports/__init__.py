"""Trained classifiers in formats that need none of this project's code."""
