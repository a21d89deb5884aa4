"""Code around LightningCLI: recipes, checks, error messages, and the execution of each command."""
