"""Work that is handed to other processes: the worker that keeps its models loaded."""
