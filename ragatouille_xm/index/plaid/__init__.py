"""Index folders of colbert-ai and RAGatouille (PLAID): read, searched as they are, and written."""
