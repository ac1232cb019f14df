"""Tables, plots and run folders: they draw, they never compute."""
