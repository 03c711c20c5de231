"""Numbers and pictures from predictions: arrays and files in, tables and figures out; no net, no config."""
