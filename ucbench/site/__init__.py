"""What the pages of the site share; the only part that imports streamlit."""
