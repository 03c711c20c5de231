"""What the commands do: build, train, cross-validate, rescore, apply, explain, compare, track."""
