"""One worker process: waits, reads, decides, writes."""
