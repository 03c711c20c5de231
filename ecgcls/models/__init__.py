"""The nets: one file each, plain torch modules that know neither Lightning nor the configuration."""
