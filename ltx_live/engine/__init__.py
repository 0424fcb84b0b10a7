"""What makes chunks: the supervised engine process and the engines it can run."""
