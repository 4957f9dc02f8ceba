"""What is sent beside the pages: the application, its routes, heads of pages, signing in."""
