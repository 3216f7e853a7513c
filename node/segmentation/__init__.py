"""Model bundles and what runs them: engines, clean-up, brain extractors."""
