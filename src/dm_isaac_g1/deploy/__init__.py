"""A checkpoint into service on a host, as a transaction, and back."""
