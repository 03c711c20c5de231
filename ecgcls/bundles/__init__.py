"""A run that was exported into one folder, a bundle, which predicts without torch."""
