"""How fast it trains, beside what: contenders, peers, measurement, BENCHMARK.md and its plot."""
