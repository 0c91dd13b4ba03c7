"""The verbs: where the core and the edges meet."""
