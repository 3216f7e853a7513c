"""From slices to model input and back: assemble, register, resample, normalise, measure."""
