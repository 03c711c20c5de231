"""How a command starts, ends, is stopped, and runs as several processes."""
