"""A folder for PYTHONPATH: its `sitecustomize` keeps a workspace within a size where nothing may be mounted."""
