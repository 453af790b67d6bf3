"""The comparison over label budgets and seeds: its grid, its runs, STUDY.md and its plots."""
