"""What is measured beside the runs: baselines without a network, and what encoders know."""
