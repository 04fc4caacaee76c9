"""Indexes for others: over HTTP (`app.create_app`), and as tools for language models (`tools.create_tools`)."""
