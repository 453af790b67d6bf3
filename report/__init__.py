"""What finished runs say: runs, pairs of runs, Markdown, README's generated parts, its plots."""
