"""What stands around LightningCLI: recipes, checks, error messages, and the run of each command."""
