"""The lab's stand-in for nvidia-smi. Standard library and relative imports only: it runs under `python -I -S`.

Its surfaces (field names, headers, rows, sentinels, errors) are the real program's, held against captures of real
machines in tests/lab. Its figures follow what the host's own jobs use. Everything it says of itself says SIMULATED.
"""
