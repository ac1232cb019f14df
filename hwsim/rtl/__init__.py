"""What RTL designers take home: every layer's words as hex files, an index, and testbenches."""
