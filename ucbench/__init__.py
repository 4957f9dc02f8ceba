"""ucbench: do vision-language models recognise unsafe content, as image and as text?"""

__version__ = "0.1.0"
