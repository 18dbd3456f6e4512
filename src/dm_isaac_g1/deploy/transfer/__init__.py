"""A model's files from where they lie into a store: what is missing of them, each chunk verified on arrival."""
