"""Light SIP agents, the demonstration, and the benchmarks."""
