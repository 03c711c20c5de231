"""What a net looks at: attribution of its outputs to leads and time, and whether to believe it."""
