"""A synthetic head study: anatomy, glioma, four MR sequences and their DICOM files."""
