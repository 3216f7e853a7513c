"""Coverage-guided fuzzing of the decoders that stand before strangers; not part of `make test`."""
