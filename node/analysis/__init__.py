"""The stages of one analysis: each reads references, calls the science, leaves artefacts."""
