"""Numbers from predictions: arrays in, tables out; no net, no config, no files."""
