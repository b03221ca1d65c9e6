"""The workflow behind ``make paper``: a plan of steps, run by Snakemake, each step in a process of its own."""
