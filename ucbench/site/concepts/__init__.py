"""The pages of concepts: all of them, and one."""
