"""How fast it trains, beside what: contenders, peers, measurement."""
