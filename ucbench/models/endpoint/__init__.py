"""Models behind an OpenAI-compatible endpoint or a provider of the Hugging Face Hub."""
