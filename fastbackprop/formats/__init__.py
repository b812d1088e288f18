"""Files: one format each."""
