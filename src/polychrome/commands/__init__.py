"""The console command `polychrome`: what is done with models and results once the pipeline has run, a file each."""
