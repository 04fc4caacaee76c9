"""Moving an index from one format or place to another, without encoding its texts again."""
