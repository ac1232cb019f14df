"""Description files of platforms, and their loader."""
