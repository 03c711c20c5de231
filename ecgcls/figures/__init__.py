"""All drawing: arrays, tables and predictions in, Matplotlib figures out."""
