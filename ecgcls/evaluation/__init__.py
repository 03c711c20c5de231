"""Numbers from predictions: arrays in, tables out; no net, no config, no files.

Arrays that do not fit together, or hold what they must not, are refused with a `DataError`, settings out of their range
with a `ConfigError`; the message names the record and the class.
"""
