"""How a sweep shares a machine or a cluster, what its jobs report, and searches for better settings."""
