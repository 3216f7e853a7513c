"""What data sets say: header projection, geometry of slices, UIDs, and whether one is ours."""
