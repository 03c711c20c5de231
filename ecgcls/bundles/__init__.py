"""Bundles: a finished run as one folder that is read without torch, by anybody."""
